/** The questions of agents for their orders that are held open: at most one a node. */
import { HOLD_MS } from '#orders';

export interface Questions {
  /**
   * Resolves when the node's orders may be others than those that it knows, when it asks anew, after a while, or when its
   * connection is gone.
   */
  hold(node: string, known: string, gone: AbortSignal): Promise<void>;
  /** The orders of a node, or of anybody, may have changed: who knows others is answered, in a later turn. */
  look(node?: string): void;
  /** Answers all. */
  release(): void;
}

interface Held {
  readonly known: string;
  readonly answer: () => void;
}

export function holdQuestions(options: {
  readonly versionOf: (node: string) => string;
  /** The connection broke while the node waited. */
  readonly onGone: (node: string) => void;
}): Questions {
  const held = new Map<string, Held>();
  /** Whom to look at in the next turn. */
  let due: Set<string> | 'all' | undefined;

  const lookNow = (): void => {
    const nodes = due === 'all' ? [...held.keys()] : (due ?? []);
    due = undefined;
    for (const node of nodes) {
      const question = held.get(node);
      if (question !== undefined && options.versionOf(node) !== question.known) question.answer();
    }
  };

  return {
    hold(node, known, gone) {
      // Its earlier question is of no use to it.
      held.get(node)?.answer();
      return new Promise((resolve) => {
        const question: Held = {
          known,
          answer: () => {
            clearTimeout(late);
            gone.removeEventListener('abort', onGone);
            if (held.get(node) === question) held.delete(node);
            resolve();
          },
        };
        const onGone = (): void => {
          if (held.get(node) === question) options.onGone(node);
          question.answer();
        };
        // Spread, so that who asked together does not ask together again.
        const late = setTimeout(question.answer, HOLD_MS * (0.8 + Math.random() * 0.2));
        gone.addEventListener('abort', onGone, { once: true });
        held.set(node, question);
        if (gone.aborted) onGone();
      });
    },
    look(node) {
      if (due === undefined) setImmediate(lookNow);
      if (node === undefined || due === 'all') due = 'all';
      else due = (due ?? new Set()).add(node);
    },
    release() {
      for (const { answer } of [...held.values()]) answer();
    },
  };
}
