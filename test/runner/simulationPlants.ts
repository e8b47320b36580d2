/** Defects that are planted into the ports of simulated runners, to see whether the simulation would find them. */
import { Effect } from "effect"
import type { Database, Value } from "../../src/ledger/Database.ts"
import type { Ports } from "../../src/runner/Ports.ts"
import { Slots } from "../../src/runner/Slots.ts"
import type { Plant } from "./simulatedProcess.ts"

export interface PlantedDefect {
  readonly name: string
  readonly plant: Plant
  /** What the simulation says when it has found it. */
  readonly finding: RegExp
}

/** The ledger as a runner sees it, with some statements answered differently. */
const statements = (
  database: Database,
  change: (
    sql: string,
    values: ReadonlyArray<Value>
  ) => { readonly get?: unknown; readonly run?: { id: number; changes: number } } | undefined
): Database => {
  const faked: Pick<Database, "file" | "all" | "get" | "column" | "table" | "run" | "immediate" | "close"> = {
    file: database.file,
    all: (sql, ...values) => database.all(sql, ...values),
    get: <R>(sql: string, ...values: ReadonlyArray<Value>) => {
      const other = change(sql, values)
      return other !== undefined && "get" in other ? (other.get as R | undefined) : database.get<R>(sql, ...values)
    },
    column: (sql, ...values) => database.column(sql, ...values),
    table: (sql, values) => database.table(sql, values),
    run: (sql, ...values) => change(sql, values)?.run ?? database.run(sql, ...values),
    immediate: body => database.immediate(body),
    close: () => database.close()
  }
  return faked as Database
}

const ledger = (change: Parameters<typeof statements>[1]): Plant => ({
  ports: (ports: Ports) => ({ ...ports, ledger: use => ports.ledger(database => use(statements(database, change))) })
})

const nothing = { run: { id: 0, changes: 0 } }

/** Keeps what it took whenever the work was cut off. */
class LeakySlots extends Slots {
  override with: Slots["with"] = (wanted, body) =>
    super.with(wanted, held =>
      Effect.onInterrupt(body(held), () =>
        Effect.sync(() => void Effect.runFork(super.with(wanted, () => Effect.never)))
      )
    )
}

export const plants: ReadonlyArray<PlantedDefect> = [
  {
    name: "leases are taken whoever holds them",
    plant: ledger(sql => (sql.startsWith("SELECT * FROM lease") ? { get: undefined } : undefined)),
    finding: /took the living lease/
  },
  {
    name: "results are published after the lease was lost",
    plant: ledger(sql => (sql.startsWith("SELECT 1 FROM lease") ? { get: { 1: 1 } } : undefined)),
    finding: /published .* without holding its lease/
  },
  {
    name: "leases are not given back",
    plant: ledger(sql => (sql.startsWith("DELETE FROM lease") ? nothing : undefined)),
    finding: /left \d+ leases/
  },
  {
    name: "heartbeats are not written",
    plant: ledger(sql => (sql.startsWith("UPDATE lease SET expires_ms") ? nothing : undefined)),
    finding: /expired although its holder/
  },
  {
    name: "one file of a result is not published",
    plant: { ports: ports => ({ ...ports, publish: staged => ports.publish(staged.slice(1)) }) },
    finding: /is called present, but is not in the store/
  },
  {
    name: "the end of an execution is not written",
    plant: ledger((sql, values) =>
      sql.startsWith("UPDATE execution SET status") && values[0] !== "done" ? nothing : undefined
    ),
    finding: /executions that seem to run/
  },
  {
    name: "slots are kept after an interruption",
    plant: { slots: slots => new LeakySlots(slots.capacity) },
    finding: /did not return its slots|not ended/
  },
  {
    name: "failures are reported twice",
    plant: {
      ports: ports => ({
        ...ports,
        emit: event => Effect.andThen(ports.emit(event), event.type === "failed" ? ports.emit(event) : Effect.void)
      })
    },
    finding: /reports a failure twice/
  }
]
