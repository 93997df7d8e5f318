/**
 * Who may do what: rules give rights to subjects, nothing takes them away. A user has what anonymous
 * has, what every authenticated user has, and what rules give the user's name and groups.
 */
import { ConfigError, nearest, record } from '#config';

/** On repositories. `push` includes `pull`, as every client asks for both. */
const REPOSITORY_ACTIONS = ['pull', 'push', 'delete'] as const;
/**
 * On the origin. `catalog`: list the repositories that one may pull; `metrics`: read /metrics;
 * `join`: be an agent or a tracker (inventories); `manage`: the rest of /api/v1.
 */
const ORIGIN_ACTIONS = ['catalog', 'metrics', 'join', 'manage'] as const;
const ACTIONS = [...REPOSITORY_ACTIONS, ...ORIGIN_ACTIONS] as const;

export type RepositoryAction = (typeof REPOSITORY_ACTIONS)[number];
export type OriginAction = (typeof ORIGIN_ACTIONS)[number];
export type Action = RepositoryAction | OriginAction;

export interface Rule {
  /** `anonymous`, `authenticated`, `user:NAME`, `group:NAME`. */
  readonly subjects: readonly string[];
  /** Patterns: `*` is any text without a slash, `**` any text. */
  readonly repositories: readonly string[];
  readonly actions: readonly Action[];
}

export interface Group {
  readonly group: string;
  readonly users: readonly string[];
}

/** A logged-in user's name; undefined: anonymous. */
export type Subject = string | undefined;

export interface Policy {
  permits(subject: Subject, action: RepositoryAction, repository: string): boolean;
  permits(subject: Subject, action: OriginAction): boolean;
}

const SUBJECT = /^(?:anonymous|authenticated|(?:user|group):[^\s,;:]+)$/;
const PATTERN = /^[a-z0-9._/*-]{1,255}$/;

export const accessRule = record({
  placeholder: "'subject=… repositories=… actions=…'",
  fields: ['subject', 'repositories', 'actions'],
  make({ subject: subjects = [], repositories = ['**'], actions = [] }): Rule | string {
    const subject = subjects.find((each) => !SUBJECT.test(each));
    if (subjects.length === 0 || subject !== undefined) {
      return `subject${subject === undefined ? ' is missing' : ` '${subject}'`}: expected anonymous, authenticated, user:NAME or group:NAME`;
    }
    const pattern = repositories.find((each) => !PATTERN.test(each));
    if (repositories.length === 0 || pattern !== undefined) {
      return `repositories${pattern === undefined ? ' is empty' : ` '${pattern}'`}: expected names such as team/app, or patterns such as team/* and team/**`;
    }
    const known: readonly string[] = ACTIONS;
    const action = actions.find((each) => each !== '*' && !known.includes(each));
    if (actions.length === 0 || action !== undefined) {
      return `actions${action === undefined ? ' are missing' : `: '${action}' is unknown`}: expected some of ${ACTIONS.join(', ')}, or * for all`;
    }
    // All rights on some repositories are none on the origin.
    const everything: readonly Action[] = repositories.includes('**') ? ACTIONS : REPOSITORY_ACTIONS;
    return {
      subjects,
      repositories,
      actions: actions.includes('*') ? everything : ACTIONS.filter((each) => actions.includes(each)),
    };
  },
});

export const accessGroup = record({
  placeholder: "'group=… users=…'",
  fields: ['group', 'users'],
  make({ group: names = [], users = [] }): Group | string {
    const [group] = names;
    if (group === undefined || names.length > 1 || /:/.test(group)) return 'group: expected one name';
    return users.length === 0 ? 'users: expected at least one name' : { group, users };
  },
});

/** What a log-in gives where no rule says otherwise: everything, as with other registries. */
export const EVERY_USER: Rule = { subjects: ['authenticated'], repositories: ['**'], actions: ACTIONS };

/** @throws ConfigError for a rule that names a group which is not there, or users without a user file */
export function checkRules(rules: readonly Rule[], groups: readonly Group[], hasUsers: boolean): void {
  const named = new Set(groups.map(({ group }) => group));
  const problems = rules
    .flatMap(({ subjects }) => subjects)
    .flatMap((subject) => {
      if (subject !== 'anonymous' && !hasUsers) {
        return [`access.rules: '${subject}' can log in only with --access-htpasswd`];
      }
      const group = /^group:(.*)$/.exec(subject)?.[1];
      if (group === undefined || named.has(group)) return [];
      const near = nearest(group, named);
      return [
        `access.rules: there is no group '${group}' in access.groups${near ? `; did you mean '${near}'?` : ''}`,
      ];
    });
  if (problems.length > 0) throw new ConfigError([...new Set(problems)]);
}

export function createPolicy(rules: readonly Rule[], groups: readonly Group[]): Policy {
  const groupsOf = new Map<string, string[]>();
  for (const { group, users } of groups) {
    for (const user of users) groupsOf.set(user, [...(groupsOf.get(user) ?? []), `group:${group}`]);
  }
  const compiled = rules.map(({ subjects, repositories, actions }) => ({
    subjects: new Set(subjects),
    actions: new Set<Action>(actions.includes('push') ? [...actions, 'pull'] : actions),
    matches: matcher(repositories),
  }));
  const names = (subject: Subject): readonly string[] =>
    subject === undefined
      ? ['anonymous']
      : ['anonymous', 'authenticated', `user:${subject}`, ...(groupsOf.get(subject) ?? [])];
  return {
    permits(subject: Subject, action: Action, repository?: string) {
      const called = names(subject);
      return compiled.some(
        (rule) =>
          rule.actions.has(action) &&
          called.some((name) => rule.subjects.has(name)) &&
          (repository === undefined || rule.matches(repository)),
      );
    },
  };
}

function matcher(patterns: readonly string[]): (name: string) => boolean {
  if (patterns.includes('**')) return () => true;
  const sources = patterns.map((pattern) =>
    pattern
      .replace(/[.\\+?^${}()|[\]]/g, '\\$&')
      .replace(/\*+/g, (stars) => (stars.length > 1 ? '.*' : '[^/]*')),
  );
  const whole = new RegExp(`^(?:${sources.join('|')})$`);
  return (name) => whole.test(name);
}
