"""The study of selection-calibrated weights: what makes them good, on several trained models.

    python -m hawk.study --config config/study.yaml NAME=FOLDER [NAME=FOLDER ...]

Per model: calibrate on calibration images, try every variant of :mod:`hawk.study.plan` on
development images. Then choose by a rule that was written down before (:mod:`hawk.study.choose`),
write the choice into a file, and stop: the file is committed. The same command again evaluates
what was chosen, once, on images that nobody has looked at (:mod:`hawk.study.images`), and tests it
in one family of comparisons (:mod:`hawk.study.family`). Finished files are not made again, so a
model or a training seed can be added at any time. ``docs/findings.md`` is written from the results.
"""
