/**
 * The content of a sample image: layers as real ones are, some that compress and some that do not,
 * gzipped and plain, large and tiny. Made on the spot; every image is new, so no cache knows it.
 */
import { randomBytes } from 'node:crypto';
import { type TarFile, writeTar } from './tar.ts';

const MIB = 1024 * 1024;

export interface SampleLayer {
  readonly comment: string;
  readonly gzip: boolean;
  /** The tar archive. */
  readonly content: () => Iterable<Buffer>;
}

/** Above 100 MB on the wire: 96 MiB of it cannot be compressed. The last layer is smaller than a piece. */
export function sampleLayers(name: string): readonly SampleLayer[] {
  return [
    {
      comment: 'base system',
      gzip: true,
      content: () =>
        writeTar([
          folder('etc/'),
          text('etc/os-release', `NAME="Shoal sample"\nID=shoal-sample\nPRETTY_NAME="${name}"\n`),
          folder('usr/'),
          folder('usr/lib/'),
          noise('usr/lib/libsample.so', 40 * MIB),
          prose('usr/lib/words.txt', 24 * MIB),
        ]),
    },
    {
      comment: 'runtime, not compressed',
      gzip: false,
      content: () => writeTar([folder('opt/'), noise('opt/runtime.bin', 32 * MIB)]),
    },
    {
      comment: 'dependencies',
      gzip: true,
      content: () =>
        writeTar([folder('srv/'), prose('srv/index.txt', 16 * MIB), noise('srv/data.bin', 24 * MIB)]),
    },
    {
      comment: 'application',
      gzip: true,
      content: () => writeTar([folder('app/'), text('app/main.sh', `#!/bin/sh\necho ${name}\n`, 0o755)]),
    },
  ];
}

function folder(path: string): TarFile {
  return { path, mode: 0o755, size: 0, content: [] };
}

function text(path: string, content: string, mode = 0o644): TarFile {
  const bytes = Buffer.from(content);
  return { path, mode, size: bytes.length, content: [bytes] };
}

function noise(path: string, size: number): TarFile {
  return { path, mode: 0o644, size, content: chunks(size, (length) => randomBytes(length)) };
}

function prose(path: string, size: number): TarFile {
  let line = 0;
  const fill = (length: number): Buffer => {
    const parts: string[] = [];
    for (let made = 0; made < length; ) {
      line += 1;
      const sentence = `${line} a shoal moves as one, and no fish carries it alone\n`;
      parts.push(sentence);
      made += sentence.length;
    }
    return Buffer.from(parts.join('')).subarray(0, length);
  };
  return { path, mode: 0o644, size, content: chunks(size, fill) };
}

function* chunks(size: number, fill: (length: number) => Buffer): Generator<Buffer> {
  for (let left = size; left > 0; ) {
    const length = Math.min(left, MIB);
    left -= length;
    yield fill(length);
  }
}
