-- What repositories hold. A repository is known by a random id; its name is the keeper's. *_sealed and *_index as in the
-- keeper's database, under keys of the repository's compartments.
CREATE TABLE ref (
  repo BLOB NOT NULL, name_index BLOB NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('branch', 'tag')),
  name_sealed BLOB NOT NULL, target BLOB NOT NULL, PRIMARY KEY (repo, name_index));
CREATE TABLE commit_object (
  repo BLOB NOT NULL, id BLOB NOT NULL, parent BLOB, time_ms BIGINT NOT NULL, body_sealed BLOB NOT NULL,
  PRIMARY KEY (repo, id));
-- Nodes of directories, each in one compartment. The id is a keyed hash of the content: equal nodes are stored once.
CREATE TABLE tree (
  repo BLOB NOT NULL, compartment TEXT NOT NULL, id BLOB NOT NULL, body_sealed BLOB NOT NULL,
  PRIMARY KEY (repo, compartment, id));
-- The age header of an object, for one compartment.
CREATE TABLE envelope (
  repo BLOB NOT NULL, compartment TEXT NOT NULL, object BLOB NOT NULL, header BLOB NOT NULL, size BIGINT NOT NULL,
  PRIMARY KEY (repo, compartment, object));
CREATE INDEX envelope_by_object ON envelope (object);
-- Which object has which content (keyed hash of its SHA-256), in one compartment.
CREATE TABLE content (
  repo BLOB NOT NULL, compartment TEXT NOT NULL, digest_index BLOB NOT NULL, object BLOB NOT NULL,
  PRIMARY KEY (repo, compartment, digest_index));
-- Uploads that no commit names yet, and the xorbs they came in.
CREATE TABLE upload (
  repo BLOB NOT NULL, digest_index BLOB NOT NULL, object BLOB NOT NULL, header BLOB NOT NULL, claim_sealed BLOB NOT NULL,
  size BIGINT NOT NULL, created_ms BIGINT NOT NULL, PRIMARY KEY (repo, digest_index));
CREATE TABLE xorb (
  repo BLOB NOT NULL, hash_index BLOB NOT NULL, object BLOB NOT NULL, header BLOB NOT NULL, chunks_sealed BLOB NOT NULL,
  size BIGINT NOT NULL, created_ms BIGINT NOT NULL, PRIMARY KEY (repo, hash_index));
CREATE INDEX upload_by_object ON upload (object);
CREATE INDEX xorb_by_object ON xorb (object);
CREATE INDEX upload_by_age ON upload (created_ms);
CREATE INDEX xorb_by_age ON xorb (created_ms);
-- Payloads whose last envelope was deleted; the sweep removes them.
CREATE TABLE orphan (object BLOB PRIMARY KEY, since_ms BIGINT NOT NULL);
-- Bytes that repositories and namespaces (by the keeper's number) store, files and xorbs apart: what quotas count.
CREATE TABLE stored (
  repo BLOB NOT NULL, what TEXT NOT NULL, place BIGINT NOT NULL, bytes BIGINT NOT NULL, PRIMARY KEY (repo, what));
CREATE TABLE stored_place (place BIGINT NOT NULL, what TEXT NOT NULL, bytes BIGINT NOT NULL, PRIMARY KEY (place, what));
-- Repositories that take no more writes: a rotation copies them to another (`number` counts its closes), or they are dropped.
CREATE TABLE closed (repo BLOB PRIMARY KEY, number BIGINT NOT NULL, successor BLOB);
-- What a rotation has copied to `repo` until now: an envelope ('docs', 'weights', …), an upload or a xorb of an object, which
-- object it is there, the keyed hash of its new header, and one that binds all of that to the old header.
CREATE TABLE rotated (
  repo BLOB NOT NULL, place TEXT NOT NULL, object BLOB NOT NULL, anew BLOB NOT NULL, size BIGINT NOT NULL, mac BLOB NOT NULL,
  proof BLOB NOT NULL, PRIMARY KEY (repo, place, object));
CREATE INDEX rotated_by_object ON rotated (repo, object);
