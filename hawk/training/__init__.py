"""The embedded models and their benchmarks: small enough to ship, trained well enough to mean something.

`scenes`, `questions` and `easy_vqa` make samples and need numpy and pyarrow only. `architectures`
builds the models, `train` trains them, `evaluate` measures them through `generate`; those import
torch and transformers when called.
"""
