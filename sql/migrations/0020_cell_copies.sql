-- A cell says how old its copies of home's tables are, so that its writers can wait for newer ones.

ALTER TABLE cell_identity ADD COLUMN copied_at timestamptz;
