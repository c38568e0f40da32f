-- Of a full tile of level 0: the sixteen hashes over its leaves by sixteen, so that whoever proves a few of its leaves need not compute
-- all of it. Tiles of before have none, and are computed.
ALTER TABLE audit_tile ADD COLUMN middle BLOB;
