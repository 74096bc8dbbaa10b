-- Of a graph, people want to know how many nodes and edges it has, not rows of what was added up.

ALTER TABLE exports
    ADD COLUMN nodes bigint,
    ADD COLUMN edges bigint,
    ADD CONSTRAINT exports_graph_counts_positive CHECK (nodes >= 0 AND edges >= 0);
