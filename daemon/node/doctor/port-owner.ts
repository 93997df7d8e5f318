/** Who listens at a TCP port of this machine, from /proc (proc(5)). Other users' programs need root. */
import { readdir, readFile, readlink } from 'node:fs/promises';

export interface PortOwner {
  readonly uid: number;
  /** Absent when it cannot be seen. */
  readonly pid: number | undefined;
  readonly command: string | undefined;
}

/** TCP_LISTEN of the kernel's socket states. */
const LISTEN = '0A';

export async function portOwner(port: number): Promise<PortOwner | undefined> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    const lines = (await readFile(table, 'utf8').catch(() => '')).split('\n').slice(1);
    for (const line of lines) {
      const [, local = '', , state, , , , uid, , inode] = line.trim().split(/\s+/);
      if (state === LISTEN && local.endsWith(`:${hex}`)) {
        return { uid: Number(uid), ...(await programWith(`socket:[${inode}]`)) };
      }
    }
  }
  return undefined;
}

async function programWith(socket: string): Promise<Pick<PortOwner, 'pid' | 'command'>> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const files = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const file of files) {
      if ((await readlink(`/proc/${pid}/fd/${file}`).catch(() => '')) !== socket) continue;
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      return { pid: Number(pid), command: command.replaceAll('\0', ' ').trim().slice(0, 120) };
    }
  }
  return { pid: undefined, command: undefined };
}
