-- Not a version of ours: what the next one may do to the busiest tables, for the test that replaces servers one by one over it.
ALTER TABLE audit_leaf ADD COLUMN rehearsed BIGINT NOT NULL DEFAULT 0;
CREATE INDEX audit_by_rehearsal ON audit_leaf (rehearsed, log, seq);
ALTER TABLE principal ADD COLUMN rehearsed BIGINT NOT NULL DEFAULT 0;
