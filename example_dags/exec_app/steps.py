"""The statements that migrate the database from one version to the next."""

ALL = [
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, city TEXT)",
    "ALTER TABLE orders ADD COLUMN amount INTEGER DEFAULT 0",
]
