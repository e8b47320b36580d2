/** The ledger's schema, as a list of migrations. Documented for readers of the database in docs/ledger.md. */

/**
 * Each entry takes the database from version `index` to `index + 1` (`PRAGMA user_version`).
 * Never edit an entry that was released: append one.
 */
export const migrations: ReadonlyArray<string> = [
  `
  CREATE TABLE stage (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

  -- A code fingerprint, and what it is made of: {"modules": {path: digest}, "packages": {name: version}}.
  CREATE TABLE code (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, detail TEXT NOT NULL);

  CREATE TABLE object (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL);

  -- state: 0 present, 1 collected (gc dropped the bytes, the digest stays), 2 lost (missing or damaged bytes).
  CREATE TABLE artifact (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, kind TEXT NOT NULL, bytes INTEGER NOT NULL,
    items INTEGER, metadata TEXT NOT NULL, state INTEGER NOT NULL DEFAULT 0, created_ms INTEGER NOT NULL
  );
  CREATE TABLE artifact_object (
    artifact INTEGER NOT NULL REFERENCES artifact, path TEXT NOT NULL, object INTEGER NOT NULL REFERENCES object,
    PRIMARY KEY (artifact, path)
  ) WITHOUT ROWID;
  CREATE INDEX artifact_object_by_object ON artifact_object (object);

  -- One row per key ever computed. parameters: what entered the key; arguments: as written, where that differs.
  CREATE TABLE action (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, stage INTEGER NOT NULL REFERENCES stage,
    code INTEGER NOT NULL REFERENCES code, engine TEXT NOT NULL, parameters TEXT NOT NULL, arguments TEXT,
    created_ms INTEGER NOT NULL
  );
  CREATE INDEX action_by_stage ON action (stage, id);
  CREATE TABLE input (
    action INTEGER NOT NULL REFERENCES action, seq INTEGER NOT NULL, port TEXT NOT NULL, name TEXT,
    artifact INTEGER NOT NULL REFERENCES artifact, PRIMARY KEY (action, seq)
  ) WITHOUT ROWID;
  CREATE INDEX input_by_artifact ON input (artifact);
  -- The current result of an action. family: what items of a chunk set share, see docs/architecture.md.
  CREATE TABLE output (
    action INTEGER NOT NULL REFERENCES action, port TEXT NOT NULL, artifact INTEGER NOT NULL REFERENCES artifact,
    family BLOB, PRIMARY KEY (action, port)
  ) WITHOUT ROWID;
  CREATE INDEX output_by_artifact ON output (artifact);
  CREATE INDEX output_by_family ON output (family, artifact) WHERE family IS NOT NULL;

  -- Lineage between artifacts: child was computed from parent.
  CREATE TABLE edge (child INTEGER NOT NULL, parent INTEGER NOT NULL, PRIMARY KEY (child, parent)) WITHOUT ROWID;
  CREATE INDEX edge_by_parent ON edge (parent, child);

  -- What a pipeline came to: its nodes with their actions. Runs that came to the same share it.
  -- snapshot: keys and output digests in order, for the fast path of planning (src/ledger/Plans.ts); cost_ms: time to compute all.
  CREATE TABLE plan (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, pipeline TEXT NOT NULL, profile TEXT NOT NULL,
    nodes INTEGER NOT NULL, cost_ms INTEGER NOT NULL, generation INTEGER NOT NULL, snapshot BLOB NOT NULL
  );
  CREATE INDEX plan_by_pipeline ON plan (pipeline, profile, id);
  CREATE TABLE plan_node (
    plan INTEGER NOT NULL REFERENCES plan, seq INTEGER NOT NULL, label TEXT NOT NULL, action INTEGER REFERENCES action,
    PRIMARY KEY (plan, seq)
  ) WITHOUT ROWID;
  CREATE INDEX plan_node_by_action ON plan_node (action);

  -- status: running, done, failed, interrupted, crashed.
  CREATE TABLE run (
    id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, profile TEXT NOT NULL, plan INTEGER REFERENCES plan,
    status TEXT NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER, command TEXT NOT NULL, program TEXT NOT NULL,
    host TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL,
    executed INTEGER NOT NULL DEFAULT 0, reused INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0, saved_ms INTEGER NOT NULL DEFAULT 0
  );
  CREATE INDEX run_by_pipeline ON run (pipeline, id);
  CREATE TABLE target (
    run INTEGER NOT NULL REFERENCES run, name TEXT NOT NULL, artifact INTEGER NOT NULL REFERENCES artifact,
    PRIMARY KEY (run, name)
  ) WITHOUT ROWID;

  -- One attempt at an action. status: running, done, failed, interrupted, lost.
  CREATE TABLE execution (
    id INTEGER PRIMARY KEY, action INTEGER NOT NULL REFERENCES action, run INTEGER NOT NULL REFERENCES run,
    label TEXT NOT NULL, attempt INTEGER NOT NULL, status TEXT NOT NULL, class TEXT, message TEXT,
    started_ms INTEGER NOT NULL, ended_ms INTEGER, cpu_ms INTEGER, peak_kib INTEGER, log TEXT NOT NULL
  );
  CREATE INDEX execution_by_action ON execution (action, id);
  CREATE INDEX execution_by_run ON execution (run, id);
  CREATE INDEX execution_by_label ON execution (label, id);
  -- What an execution returned, when it differs from the action's current output: it is not reproducible.
  CREATE TABLE divergence (
    execution INTEGER NOT NULL REFERENCES execution, port TEXT NOT NULL, before INTEGER NOT NULL REFERENCES artifact,
    after INTEGER NOT NULL REFERENCES artifact, PRIMARY KEY (execution, port)
  ) WITHOUT ROWID;

  -- Final values have value; series have points. They belong to the action: a reused result shows its metrics too.
  CREATE TABLE metric (
    id INTEGER PRIMARY KEY, action INTEGER NOT NULL REFERENCES action, name TEXT NOT NULL, value REAL, UNIQUE (action, name)
  );
  CREATE TABLE point (
    metric INTEGER NOT NULL REFERENCES metric, step INTEGER NOT NULL, value REAL, PRIMARY KEY (metric, step)
  ) WITHOUT ROWID;

  CREATE TABLE event (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, at_ms INTEGER NOT NULL, type TEXT NOT NULL,
    label TEXT, data TEXT NOT NULL
  );
  CREATE INDEX event_by_run ON event (run, id);

  -- Who computes which key. token grows with every acquisition: a late writer is recognised by it.
  CREATE TABLE lease (
    key BLOB PRIMARY KEY, owner TEXT NOT NULL, host TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER NOT NULL,
    token INTEGER NOT NULL, acquired_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL
  ) WITHOUT ROWID;

  CREATE TABLE pin (artifact INTEGER PRIMARY KEY REFERENCES artifact, note TEXT NOT NULL, created_ms INTEGER NOT NULL);

  -- Names resolved once (a branch of a repository to its commit), and digests of files outside the store by their stat.
  CREATE TABLE remembered (name TEXT PRIMARY KEY, value TEXT NOT NULL, at_ms INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE file_digest (path TEXT PRIMARY KEY, stat TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;

  -- counter 'generation' grows whenever an artifact stops being present or an action's output changes.
  CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  INSERT INTO counter VALUES ('generation', 0), ('token', 0);
  `,
  `
  -- Full checks of objects above 1 MiB that ended well. file: device, inode, size and times of what was hashed; '' if it may have changed
  -- meanwhile, or was found damaged since. at_ms: when the check began: what was computed from the object before that is accounted for.
  CREATE TABLE checked (object BLOB PRIMARY KEY, file TEXT NOT NULL, at_ms INTEGER NOT NULL) WITHOUT ROWID;

  -- Actions that read an object which turned out damaged: what they returned is no hit until they have run again.
  -- execution: the last one when that was found. checkpoint: 1 until what they had kept for going on has been dropped.
  CREATE TABLE suspect (
    action INTEGER PRIMARY KEY REFERENCES action, object BLOB NOT NULL, execution INTEGER NOT NULL,
    checkpoint INTEGER NOT NULL, at_ms INTEGER NOT NULL
  );
  -- Large objects that were found damaged before there was this table: nobody knows since when they were.
  INSERT INTO suspect SELECT input.action, min(object.digest), (SELECT coalesce(max(id), 0) FROM execution), 1, 0
    FROM artifact JOIN artifact_object ON artifact_object.artifact = artifact.id JOIN object ON object.id = artifact_object.object
    JOIN input ON input.artifact = artifact.id
    WHERE artifact.state = 2 AND object.size > 1048576 GROUP BY input.action;
  UPDATE counter SET value = value + 1 WHERE name = 'generation' AND EXISTS (SELECT 1 FROM suspect);

  -- What running runs count on: digests of artifacts, 32 bytes each.
  CREATE TABLE held (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, artifacts BLOB NOT NULL);
  CREATE INDEX held_by_run ON held (run);
  `,
  `
  -- What people call a run, and what they say of it.
  ALTER TABLE run ADD COLUMN tag TEXT;
  ALTER TABLE run ADD COLUMN note TEXT;
  CREATE INDEX run_by_tag ON run (tag, id) WHERE tag IS NOT NULL;
  `
]
