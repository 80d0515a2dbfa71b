FIGURES = []
TABLES = [PATHS.table("retention", ending) for ending in ("parquet", "csv", "md")]
