/**
 * What a bench has to undo when it is told to end (SIGINT, SIGTERM, SIGHUP): programs, folders, namespaces. What
 * was begun last is undone first. A bench that ends by itself undoes the same in its own `finally`.
 */
import { constants } from 'node:os';

const undoing = new Set<() => Promise<unknown>>();
let listening = false;

/** `undo` is run when a signal ends the bench, unless the function that is returned was called before. */
export function whenInterrupted(undo: () => Promise<unknown>): () => void {
  if (!listening) {
    listening = true;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, end);
  }
  undoing.add(undo);
  return () => void undoing.delete(undo);
}

async function end(signal: NodeJS.Signals): Promise<void> {
  // The bench fails when its programs end under it; that is no news, and must not end the process half-way.
  process.on('uncaughtException', () => undefined);
  for (const undo of [...undoing].reverse()) await undo().catch(() => undefined);
  process.exit(128 + constants.signals[signal]);
}
