import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { fromRandomAccessReaderPromise, RandomAccessReader } from 'yauzl';
import { messageOf, SdaError } from '../../errors.js';

/** One file of an archive: where its bytes are. */
export interface ArchiveEntry {
  readonly name: string;
  /** How its bytes are packed; null where they are as they were */
  readonly packed: 'compressed' | 'encrypted' | null;
  /** Of the first byte, absolute in the archive */
  readonly offset: number;
  /** Bytes, unpacked */
  readonly size: number;
}

/** More files than any checkpoint holds: a shard has one for each tensor. */
const MOST_ENTRIES = 100_000;

/**
 * The files of a zip archive, by name. Only the directory is read; each file is checked to lie inside the archive.
 * @throws SdaError `bad-file` for a damaged archive.
 */
export async function archiveEntries(
  handle: FileHandle,
  file: string,
): Promise<ReadonlyMap<string, ArchiveEntry>> {
  const { size } = await handle.stat();
  const entries = new Map<string, ArchiveEntry>();
  try {
    const zip = await fromRandomAccessReaderPromise(new HandleReader(handle), size, {
      autoClose: false,
    });
    zip.on('error', () => {}); // the iterator below reports it
    if (zip.entryCount > MOST_ENTRIES) {
      throw new Error(`it names ${zip.entryCount} files where at most ${MOST_ENTRIES} are read`);
    }
    for await (const entry of zip.eachEntry()) {
      const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
      if (entries.has(entry.fileName)) throw new Error(`it holds ${entry.fileName} twice`);
      const { fileName: name, uncompressedSize } = entry;
      const packed = entry.isEncrypted()
        ? 'encrypted'
        : entry.compressionMethod
          ? 'compressed'
          : null;
      entries.set(name, { name, packed, offset: fileDataStart, size: uncompressedSize });
    }
  } catch (error) {
    throw new SdaError(
      'bad-file',
      `${file} cannot be read as a zip archive (${messageOf(error)}); it is damaged or truncated, download it again.`,
      { cause: error },
    );
  }
  return entries;
}

/** @throws SdaError `unsupported` for a file that is compressed or encrypted. */
export function requireStored({ name, packed }: ArchiveEntry, file: string): void {
  if (packed === null) return;
  throw new SdaError(
    'unsupported',
    `${file} holds ${JSON.stringify(name)} ${packed} where torch.save stores files as they are; save the checkpoint again with torch.save.`,
  );
}

/** Reads that cannot throw outside of the callback, whatever position the archive names. */
class HandleReader extends RandomAccessReader {
  constructor(private readonly handle: FileHandle) {
    super();
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    let bytesRead = 0;
    let failure: Error | null = null;
    try {
      bytesRead = readSync(this.handle.fd, buffer, offset, length, position);
    } catch (error) {
      failure = new Error(messageOf(error));
    }
    setImmediate(callback, failure, bytesRead);
  }
}
