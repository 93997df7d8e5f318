/** Scopes of the docker token flow: `repository:library/app:pull,push`, `registry:catalog:*`. */

export interface Scope {
  /** `repository`, `registry`; a class in brackets (`repository(plugin)`) is dropped. */
  readonly type: string;
  /** May hold colons: a registry host with its port. */
  readonly name: string;
  readonly actions: readonly string[];
}

const MAX_SCOPE = 512;
const SCOPE = /^([a-z0-9]+)(?:\([a-z0-9]+\))?:([^\s]+):([A-Za-z*,]*)$/;

/** Undefined when the text is no scope. */
export function parseScope(text: string): Scope | undefined {
  if (text.length > MAX_SCOPE) return undefined;
  const [, type, name, actions] = SCOPE.exec(text) ?? [];
  if (type === undefined || name === undefined || actions === undefined) return undefined;
  return { type, name, actions: [...new Set(actions.split(',').filter((action) => action !== ''))] };
}

export function formatScope({ type, name, actions }: Scope): string {
  return `${type}:${name}:${actions.join(',')}`;
}
