-- What was posted before a cell was added belongs to those of before, also when it is received again.

ALTER TABLE lanes ADD COLUMN takes_from timestamptz NOT NULL DEFAULT 'epoch';
