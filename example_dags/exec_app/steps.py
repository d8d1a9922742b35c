"""The statements that lead from one version of the database to the next."""

ALL = [
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, city TEXT)",
    "ALTER TABLE orders ADD COLUMN amount INTEGER DEFAULT 0",
]
