/**
 * Who sent a bad piece. A piece that one member filled alone names its culprit. When several filled
 * it, each of them goes on parole: it gets pieces that nobody else fills, until one of them turns
 * out good (parole ends) or bad (ban).
 */
import type { Connection } from './connection.ts';

export interface Verdicts {
  block(piece: number, from: Connection): void;
  /** The member that this piece may be asked of, if it is reserved. */
  reservedFor(piece: number): Connection | undefined;
  /** A block of this piece was asked of the member. */
  asked(piece: number, of: Connection): void;
  /** Members that sent blocks of the piece. */
  contributors(piece: number): ReadonlySet<Connection>;
  /** The hash was right. */
  good(piece: number): void;
  /** The hash was wrong. Returns those to ban, and a member that sent part of it. */
  bad(piece: number): { readonly culprits: readonly Connection[]; readonly someone: Connection | undefined };
  /** The connection ended. Returns the pieces that were reserved for it; their blocks prove nothing any more. */
  left(connection: Connection): number[];
}

const NOBODY: ReadonlySet<Connection> = new Set();

export function createVerdicts(): Verdicts {
  const senders = new Map<number, Set<Connection>>();
  const reserved = new Map<number, Connection>();

  const forget = (piece: number): ReadonlySet<Connection> => {
    const of = senders.get(piece) ?? NOBODY;
    senders.delete(piece);
    reserved.delete(piece);
    return of;
  };

  return {
    block: (piece, from) => {
      const of = senders.get(piece);
      if (of) of.add(from);
      else senders.set(piece, new Set([from]));
    },
    reservedFor: (piece) => reserved.get(piece),
    asked: (piece, of) => {
      if (of.onParole) reserved.set(piece, of);
    },
    contributors: (piece) => senders.get(piece) ?? NOBODY,
    good: (piece) => {
      const of = forget(piece);
      if (of.size === 1) for (const connection of of) connection.onParole = false;
    },
    bad: (piece) => {
      const of = [...forget(piece)];
      if (of.length === 1) return { culprits: of, someone: of[0] };
      for (const connection of of) connection.onParole = true;
      // Whoever left before the verdict cannot clear itself.
      return { culprits: of.filter((connection) => connection.closed), someone: of[0] };
    },
    left: (connection) => {
      const pieces = [...reserved].filter(([, owner]) => owner === connection).map(([piece]) => piece);
      for (const piece of pieces) forget(piece);
      return pieces;
    },
  };
}
