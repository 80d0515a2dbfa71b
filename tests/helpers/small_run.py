"""The config of a run with as few jobs as a run has, on an embedded model."""

SMALL = {
    "run": "small",
    "model": {"path": "data/models/tiny-qwen2.5-vl", "device": "cpu", "layers": 4, "heads": 8},
    "ablation": {"recipes": [{"name": "zero", "intervention": "zero"}], "heads_per_job": "all"},
    "calibration": {"benchmarks": ["digits"], "samples": 8},
    "evaluation": {
        "benchmarks": ["digits"],
        "samples": 8,
        "ratios": [0.8],
        "reference": "grid",
        "variants": [
            {"name": "hawk-zero", "method": "hawk", "weights": "zero"},
            {"name": "grid", "method": "grid"},
        ],
    },
    "generation": {"batch_size": 8},
    "statistics": {"resamples": 100},
    "cost": {"measure": False},
}
