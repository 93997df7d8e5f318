/** What a client's set-up would write: pure of the disk, so that it can be shown, compared and tested. */

/** The node's files as they were before an earlier set-up of ours. */
export interface View {
  /** @throws NodeSetupError for what is no text */
  text(file: string): Promise<string | undefined>;
  list(folder: string): Promise<readonly string[]>;
}

export interface Wanted {
  /** Of the agent, as its clients on this node reach it. */
  readonly agent: string;
  /** Registry hosts; 'all' for every registry that the client can be told of. */
  readonly registries: readonly string[] | 'all';
}

export interface Plan {
  /** The new content of each file, whole. A file that is already right is not among them. */
  readonly files: ReadonlyMap<string, string>;
  /** What the operator should know, a sentence each. */
  readonly notes: readonly string[];
  /** Whether the client reads a change of this file only at its next start or reload, by `restart`. */
  readonly readAtStart: (file: string) => boolean;
  readonly restart: string;
}
