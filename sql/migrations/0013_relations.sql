-- Exports of relations and of graphs: each part has several files.

ALTER TABLE exports
    ADD COLUMN graph text NOT NULL DEFAULT 'co-hashtag',
    ADD COLUMN min_weight integer NOT NULL DEFAULT 1,
    ADD COLUMN max_nodes integer NOT NULL DEFAULT 10000,
    DROP CONSTRAINT exports_format_known,
    ADD CONSTRAINT exports_format_known CHECK (format IN
        ('csv', 'excel', 'xlsx', 'ndjson', 'received', 'parquet', 'ids', 'relations', 'gexf')),
    ADD CONSTRAINT exports_graph_known CHECK (graph IN
        ('co-hashtag', 'mention', 'reply', 'author-hashtag', 'host-hashtag')),
    ADD CONSTRAINT exports_min_weight_range CHECK (min_weight BETWEEN 1 AND 1000000),
    ADD CONSTRAINT exports_max_nodes_range CHECK (max_nodes BETWEEN 1 AND 1000000);

ALTER TABLE export_parts
    ADD COLUMN name text NOT NULL DEFAULT 'tweets',
    DROP CONSTRAINT export_parts_pkey,
    ADD CONSTRAINT export_parts_pkey PRIMARY KEY (export_id, number, name),
    ADD CONSTRAINT export_parts_name_known CHECK (name IN
        ('tweets', 'hashtags', 'mentions', 'links', 'media', 'nodes', 'edges'));
