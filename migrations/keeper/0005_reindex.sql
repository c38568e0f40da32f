-- What was indexed record by record. Apart from 0004, whose lock on audit_head would be held meanwhile: older servers go on writing.
INSERT INTO audit_index (value_index, time_ms, log, seq, more)
  SELECT principal_index, time_ms, log, seq, SUBSTR(principal_index, 1, 0) FROM audit_leaf
  UNION ALL SELECT repo_index, time_ms, log, seq, SUBSTR(repo_index, 1, 0) FROM audit_leaf
  UNION ALL SELECT token_index, time_ms, log, seq, SUBSTR(token_index, 1, 0) FROM audit_leaf
  UNION ALL SELECT address_index, time_ms, log, seq, SUBSTR(address_index, 1, 0) FROM audit_leaf
  ORDER BY 1, 2, 3, 4;
-- A log's records become visible in their order.
UPDATE audit_head SET indexed = (SELECT COALESCE(MAX(audit_index.seq) + 1, 0) FROM audit_index WHERE audit_index.log = audit_head.log);
DROP INDEX audit_by_principal;
DROP INDEX audit_by_repo;
DROP INDEX audit_by_token;
DROP INDEX audit_by_address;
