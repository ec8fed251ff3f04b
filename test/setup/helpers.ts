import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { SdaError } from '../../src/errors.js';

/** An empty folder that goes away with the test. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'sda-setup-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Writes a zip archive with Python, which does not check the names; files that start with `#!` can be run. */
export function writeZip(path: string, members: Readonly<Record<string, string>>): void {
  const script = `import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as z:
  for name, text in json.loads(sys.argv[2]).items():
    info = zipfile.ZipInfo(name)
    info.external_attr = (0o755 if text.startswith("#!") else 0o644) << 16
    z.writestr(info, text)`;
  execFileSync('python3', ['-c', script, path, JSON.stringify(members)]);
}

/** A wheel of the given files, as pip takes it from a folder. */
export function writeWheel(
  dir: string,
  wheel: { name: string; version: string; tag: string; metadata?: string },
  members: Readonly<Record<string, string>>,
): string {
  const info = `${wheel.name}-${wheel.version}.dist-info`;
  const path = join(dir, `${wheel.name}-${wheel.version}-${wheel.tag}.whl`);
  writeZip(path, {
    ...members,
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${wheel.name}\nVersion: ${wheel.version}\n${wheel.metadata ?? ''}`,
    [`${info}/WHEEL`]: `Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: ${wheel.tag}\n`,
    [`${info}/RECORD`]: '',
  });
  return path;
}

/** The SdaError that a promise ends with. */
export async function errorOf(promise: Promise<unknown>): Promise<SdaError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof SdaError) return error;
  throw new Error(`expected an SdaError, got ${String(error)}`);
}
