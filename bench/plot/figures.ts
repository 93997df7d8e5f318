/** What each bench's results look like as a plot. */
import { drawBars, drawCurves } from './svg.ts';

/** One scenario of bench/simulate. */
export interface Simulated {
  readonly name: string;
  readonly boundMs: number;
  /** Milliseconds to completion of each node, ascending. */
  readonly times: readonly number[];
}

/** The part of the nodes that are complete, over time ÷ bound: one curve a scenario. */
export function drawSimulated(runs: readonly Simulated[]): string {
  return drawCurves({
    title: 'simulate: nodes that have the whole blob',
    xLabel: 'time since the node arrived ÷ bound (blob ÷ link rate)',
    marks: [
      { x: 1, label: 'bound' },
      { x: 1.5, label: '1.5' },
    ],
    curves: runs.map(({ name, boundMs, times }) => ({
      label: `${name}: last ${((times.at(-1) ?? Number.NaN) / boundMs).toFixed(2)} ×`,
      points: times.map((time, index) => [time / boundMs, (index + 1) / times.length] as const),
    })),
  });
}

/** One engine of bench/pair. */
export interface PairRow {
  readonly engine: string;
  readonly mibPerSecond: number;
  readonly senderCpuPerGib: number;
  readonly receiverCpuPerGib: number;
}

export const drawPairRates = (rows: readonly PairRow[]): string =>
  drawBars({
    title: 'pair: throughput on the loopback',
    series: ['MiB/s'],
    groups: rows.map((row) => ({ label: row.engine, values: [row.mibPerSecond] })),
  });

export const drawPairCpu = (rows: readonly PairRow[]): string =>
  drawBars({
    title: 'pair: processor seconds a GiB',
    series: ['sender', 'receiver'],
    groups: rows.map((row) => ({ label: row.engine, values: [row.senderCpuPerGib, row.receiverCpuPerGib] })),
  });

/** One engine of bench/fanout. */
export interface FanoutRow {
  readonly engine: string;
  readonly ratio: number;
  readonly seed: number;
}

export const drawFanout = (rows: readonly FanoutRow[]): string =>
  drawBars({
    title: 'fanout: how near to the bound, and what the seed sent',
    series: ['last node ÷ bound', 'seed ÷ bytes'],
    groups: rows.map((row) => ({ label: row.engine, values: [row.ratio, row.seed] })),
  });

/** One way of pulling in bench/cold. */
export interface ColdRow {
  readonly name: string;
  readonly headersMs: number;
  readonly firstByteMs: number;
  readonly mibPerSecond: number;
  /** Of all programs, for each GiB that a client got. */
  readonly cpuSecondsPerGib: number;
  /** To the direct download of the same blob. */
  readonly firstByteRatio: number;
  readonly rateRatio: number;
}

export const drawCold = (rows: readonly ColdRow[]): string =>
  drawBars({
    title: 'cold: a pull through an agent that only the origin serves ÷ a direct download',
    series: ['first body byte ÷ direct (bar 1.5)', 'rate ÷ direct (bar 0.8)'],
    groups: rows.map((row) => ({ label: row.name, values: [row.firstByteRatio, row.rateRatio] })),
  });

/** One ratio of bench/registry: Shoal's rate ÷ the peer's. */
export interface RegistryRatio {
  readonly what: string;
  readonly peer: string;
  readonly ratio: number;
  readonly bar: number;
}

export const drawRegistry = (ratios: readonly RegistryRatio[]): string =>
  drawBars({
    title: 'registry: the origin beside docker-registry and nginx sendfile',
    series: ['rate ÷ peer', 'bar'],
    groups: ratios.map(({ what, peer, ratio, bar }) => ({
      label: `${what} ÷ ${peer}`,
      values: [ratio, bar],
    })),
  });

/** One case of bench/rate. */
export interface RateRow {
  readonly name: string;
  readonly mibPerSecond: number;
  readonly ofLimit: number;
  /** The least share of a peer ÷ the largest. */
  readonly fairness: number;
}

export const drawRate = (rows: readonly RateRow[]): string =>
  drawBars({
    title: 'rate: how exact limits are, and how even the shares',
    series: ['measured ÷ limit', 'least ÷ largest share'],
    groups: rows.map((row) => ({ label: row.name, values: [row.ofLimit, row.fairness] })),
  });

/** One downloader of bench/memory. */
export interface MemoryRow {
  readonly who: string;
  readonly peers: number;
  readonly mibPerSecond: number;
  readonly peakMib: number;
  readonly medianMib: number;
  readonly cpu: number;
}

export const drawMemory = (rows: readonly MemoryRow[], barMib: number): string =>
  drawBars({
    title: `memory: resident MiB while a large blob comes from many peers (bar ${barMib.toFixed(0)})`,
    series: ['peak', 'median'],
    groups: rows.map((row) => ({
      label: `${row.who}, ${row.peers} peers`,
      values: [row.peakMib, row.medianMib],
    })),
  });

/** One look at a program of bench/idle's soak. */
export interface SoakRow {
  readonly downloads: number;
  readonly who: string;
  readonly rssMib: number;
}

export const drawSoak = (samples: readonly SoakRow[]): string => {
  const marks = [...new Set(samples.map(({ downloads }) => downloads))];
  const whos = [...new Set(samples.map(({ who }) => who))];
  const rss = (who: string, downloads: number): number =>
    samples.find((one) => one.who === who && one.downloads === downloads)?.rssMib ?? Number.NaN;
  return drawBars({
    title: 'idle: resident MiB after so many downloads',
    series: whos,
    groups: marks.map((downloads) => ({
      label: String(downloads),
      values: whos.map((who) => rss(who, downloads)),
    })),
  });
};

/** One start of bench/idle. */
export interface StartRow {
  readonly blobs: number;
  readonly readyMs: number;
}

export const drawStarts = (samples: readonly StartRow[]): string =>
  drawBars({
    title: 'idle: milliseconds from the start to ready, by cached blobs (bar 2000)',
    series: ['ms'],
    groups: samples.map(({ blobs, readyMs }) => ({ label: `${blobs} blobs`, values: [readyMs] })),
  });
