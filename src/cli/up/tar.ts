/**
 * A tar archive as a stream (POSIX ustar, IEEE Std 1003.1-2001, pax "ustar Interchange Format"): enough
 * for layers that we make ourselves, so no library is needed and nothing is held in memory.
 */
export interface TarFile {
  /** Relative, at most 100 characters; a name that ends in / is a folder. */
  readonly path: string;
  readonly mode: number;
  /** Bytes that `content` yields, exactly. */
  readonly size: number;
  readonly content: Iterable<Buffer>;
}

const BLOCK = 512;

export function* writeTar(files: Iterable<TarFile>): Generator<Buffer> {
  for (const file of files) {
    yield header(file);
    let written = 0;
    for (const chunk of file.content) {
      written += chunk.length;
      yield chunk;
    }
    if (written !== file.size) throw new RangeError(`${file.path}: ${written} bytes instead of ${file.size}`);
    const rest = written % BLOCK;
    if (rest > 0) yield Buffer.alloc(BLOCK - rest);
  }
  // Two empty blocks end an archive.
  yield Buffer.alloc(2 * BLOCK);
}

function header(file: TarFile): Buffer {
  const folder = file.path.endsWith('/');
  if (Buffer.byteLength(file.path) > 100) throw new RangeError(`${file.path}: longer than 100 bytes`);
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, width: number): void => {
    block.write(value.toString(8).padStart(width - 1, '0'), offset, 'latin1');
  };
  block.write(file.path, 0, 'utf8');
  octal(file.mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(file.size, 124, 12);
  octal(0, 136, 12);
  block.write(folder ? '5' : '0', 156, 'latin1');
  block.write('ustar\u000000root', 257, 'latin1');
  block.write('root', 297, 'latin1');
  // The checksum counts its own field as spaces.
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
