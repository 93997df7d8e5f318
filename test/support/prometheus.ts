/** Debian's Prometheus over programs of a test, with the configuration and rules of deploy/prometheus. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { parse, stringify } from 'yaml';
import { makeFolder, until } from './in-process.ts';
import { freePort } from './ports.ts';

export const deployed = (name: string): string =>
  fileURLToPath(new URL(`../../deploy/${name}`, import.meta.url));

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Prometheus {
  /** An instant query. Throws what Prometheus says against it. */
  query(expr: string): Promise<Sample[]>;
  /** Names of all metrics that it has. */
  names(): Promise<ReadonlySet<string>>;
}

interface Scraping {
  readonly global: { scrape_interval: string; evaluation_interval: string };
  readonly scrape_configs: {
    readonly job_name: string;
    static_configs: { targets: string[] }[];
  }[];
}

/** Scrapes these programs, by job; resolves when each was scraped twice. */
export async function startPrometheus(
  t: Test,
  targets: Readonly<Record<string, readonly string[]>>,
): Promise<Prometheus> {
  const folder = await makeFolder(t);
  const config = parse(await readFile(deployed('prometheus/prometheus.yml'), 'utf8')) as Scraping;
  config.global.scrape_interval = '1s';
  config.global.evaluation_interval = '1s';
  for (const job of config.scrape_configs) {
    const urls = targets[job.job_name] ?? [];
    job.static_configs = [{ targets: urls.map((url) => new URL(url).host) }];
  }
  const file = path.join(folder, 'prometheus.yml');
  await writeFile(file, stringify(config));
  await copyFile(deployed('prometheus/shoal.rules.yml'), path.join(folder, 'shoal.rules.yml'));
  const address = `127.0.0.1:${await freePort()}`;
  const child = spawn(
    'prometheus',
    [
      ...['--config.file', file, '--storage.tsdb.path', path.join(folder, 'data')],
      ...['--web.listen-address', address],
    ],
    { stdio: 'ignore' },
  );
  t.teardown(async () => {
    if (child.exitCode !== null) return;
    child.kill();
    await once(child, 'exit');
  });

  const ask = async <T>(where: string, query: Readonly<Record<string, string>> = {}): Promise<T> => {
    const answer = await fetch(`http://${address}/api/v1/${where}?${new URLSearchParams(query)}`);
    const { status, data, error } = (await answer.json()) as { status: string; data: T; error?: string };
    if (status !== 'success') throw new Error(error ?? `${where} answered ${answer.status}`);
    return data;
  };
  const query = async (expr: string): Promise<Sample[]> => {
    interface Vector {
      readonly result: readonly { metric: Record<string, string>; value: [number, string] }[];
    }
    const { result } = await ask<Vector>('query', { query: expr });
    return result.map(({ metric, value: [, text] }) => ({ metric, value: Number(text) }));
  };
  const all = Object.values(targets).flat().length;
  await until(async () => {
    if (child.exitCode !== null) throw new Error('prometheus ended');
    const twice = await query('count_over_time(up[1m]) >= 2 and up == 1').catch(() => []);
    return twice.length === all;
  });
  return { query, names: async () => new Set(await ask<string[]>('label/__name__/values')) };
}

/** Exit code and words of promtool. */
export async function promtool(
  args: readonly string[],
  input = '',
): Promise<{ readonly code: number; readonly words: string }> {
  const child = spawn('promtool', args, { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.end(input);
  const [out, err, [code]] = await Promise.all([
    textOf(child.stdout),
    textOf(child.stderr),
    once(child, 'close') as Promise<[number]>,
  ]);
  return { code, words: `${out}${err}` };
}

/** Metrics in an expression, each with the labels that it is selected or grouped by where it stands. */
export function selectorsIn(expr: string): { readonly name: string; readonly labels: readonly string[] }[] {
  return [...expr.matchAll(/\b((?:shoal|nodejs|process)_\w+|up)\b(?:\{([^}]*)\})?/g)].map(
    ([, name = '', inside = '']) => ({
      name,
      labels: [...inside.matchAll(/(\w+)\s*(?:=~|!=|!~|=)/g)].map(([, label = '']) => label),
    }),
  );
}
