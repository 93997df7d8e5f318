/** The engine in use. Another engine takes its place here, and nowhere else. */
export { createSwarm } from './webtorrent/swarm.ts';
