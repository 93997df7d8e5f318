/** The scenarios, by name. The 8- and 16-node ones are those of bench/fanout with real sockets. */
import type { Scenario } from './swarm.ts';

const MEGABIT = 1_000_000 / 8;
const MIB = 1024 * 1024;
const KIB = 1024;

/** Payload rate of a 100 Mbit/s link: headers of Ethernet, IP and TCP are not payload. */
const RATE = 100 * MEGABIT;

const base: Omit<Scenario, 'name' | 'nodes'> = {
  bytesPerSecond: RATE,
  blobBytes: 128 * MIB,
  pieceBytes: 512 * KIB,
  blockBytes: 32 * KIB,
  latencyMs: 0.5,
  seed: 1,
  dials: 50,
  originPeers: 50,
  slots: 8,
  turnBytes: 512 * KIB,
  runBytes: 64 * KIB,
  windowBytes: 1 * MIB,
};

/** Rates between a half and one and a half, mean one. */
const mixed = (index: number): number => 0.5 + ((index * 7_919) % 100) / 100;

export const scenarios: readonly Scenario[] = [
  { ...base, name: '8', nodes: 8 },
  { ...base, name: '16', nodes: 16, bytesPerSecond: 50 * MEGABIT },
  { ...base, name: '100', nodes: 100, blockBytes: 64 * KIB },
  { ...base, name: '1000', nodes: 1_000, blockBytes: 256 * KIB, runBytes: 256 * KIB },
  { ...base, name: '10000', nodes: 10_000, blockBytes: 512 * KIB, runBytes: 512 * KIB },
  { ...base, name: 'mixed-100', nodes: 100, part: mixed, boundMs: (128 * MIB * 1_000) / (RATE * 0.5) },
  {
    ...base,
    name: 'racks-400',
    nodes: 400,
    perRack: 40,
    oversubscription: 10,
    zones: true,
    blockBytes: 256 * KIB,
    runBytes: 256 * KIB,
  },
  {
    ...base,
    name: 'racks-400-unzoned',
    nodes: 400,
    perRack: 40,
    oversubscription: 10,
    blockBytes: 256 * KIB,
    runBytes: 256 * KIB,
  },
  {
    ...base,
    name: 'racks-10000',
    nodes: 10_000,
    perRack: 40,
    oversubscription: 10,
    zones: true,
    blockBytes: 512 * KIB,
    runBytes: 512 * KIB,
  },
  { ...base, name: 'churn-16', nodes: 16, killed: 0.25 },
  { ...base, name: 'churn-100', nodes: 100, killed: 0.25 },
  { ...base, name: 'arrivals-8', nodes: 8, arrivalMs: 5_000 },
  { ...base, name: 'arrivals-100', nodes: 100, arrivalMs: 5_000 },
  {
    ...base,
    name: 'slow-8',
    nodes: 8,
    part: (index) => (index === 0 ? 0.1 : 1),
    counted: (index) => index !== 0,
  },
  {
    ...base,
    name: 'slow-100',
    nodes: 100,
    part: (index) => (index === 0 ? 0.1 : 1),
    counted: (index) => index !== 0,
  },
];
