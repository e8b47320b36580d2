/** Defects that are planted into the ports of simulated runners, to see whether the simulation would find them. */
import { Effect } from "effect"
import { Database, type Value } from "../../src/ledger/Database.ts"
import type { Ports, Seen } from "../../src/runner/Ports.ts"
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
  // All else that a ledger does, it does by these.
  return Object.assign(Object.create(Database.prototype) as Database, faked)
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

/** Waits for ever where the work ended with a defect. */
class PatientSlots extends Slots {
  override with: Slots["with"] = (wanted, body) =>
    super.with(wanted, held =>
      Effect.flatMap(body(held), tried =>
        (tried as { readonly message?: string }).message?.includes("a defect that is kept") === true
          ? Effect.never
          : Effect.succeed(tried)
      )
    )
}

export const plants: ReadonlyArray<PlantedDefect> = [
  {
    name: "leases are taken whoever holds them",
    plant: ledger(sql => (sql.startsWith("SELECT owner, host, ") ? { get: undefined } : undefined)),
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
    name: "code is looked at when an action starts, not before its result is published",
    plant: {
      ports: ports => {
        const seen = new Map<number, Seen>()
        return {
          ...ports,
          look: node =>
            seen.has(node.id)
              ? Effect.succeed(seen.get(node.id)!)
              : Effect.tap(ports.look(node), now => Effect.sync(() => void seen.set(node.id, now)))
        }
      }
    },
    finding: /is [0-9a-f]{8} instead of [0-9a-f]{8}/
  },
  {
    name: "an action whose fiber ends with a defect is waited for",
    plant: {
      slots: slots => new PatientSlots(slots.capacity),
      ports: ports => ({
        ...ports,
        faults: point =>
          point === "action.leased" ? Effect.die(new Error("a defect that is kept")) : ports.faults(point)
      })
    },
    finding: /nothing goes on any more|not at its end/
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
