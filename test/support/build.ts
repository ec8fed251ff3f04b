import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../src/runtime/paths.js';
import { readRuntimeFile } from '../../src/runtime/runtime-file.js';
import { setup } from '../../src/setup/setup.js';

/**
 * Before any test: `dist` as the sources are now, for the tests that run the built command line, and TensorFlow and the
 * native kernels as set-up makes them from the sources as they are now. What is up to date costs about a second.
 */
export default async function build(): Promise<void> {
  const root = packageRoot();
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  execFileSync(process.execPath, [compiler, '-p', 'tsconfig.json'], {
    cwd: root,
    stdio: 'inherit',
  });
  await setUpAgain();
}

/** Set-up for the device and with the TensorFlow that it was last done for; says only what takes time. */
async function setUpAgain(): Promise<void> {
  const last = readRuntimeFile();
  const asked = process.env.SDA_TENSORFLOW_DIR;
  if (last?.gpu === null) process.env.SDA_TENSORFLOW_DIR ??= last.tensorflowDir;
  const device = typeof last?.gpu === 'boolean' ? (last.gpu ? 'gpu' : 'cpu') : 'auto';
  try {
    await setup({ device }, ({ kind, text }) => {
      if (kind === 'start' || kind === 'note') process.stderr.write(`${text}\n`);
    });
  } finally {
    if (asked === undefined) delete process.env.SDA_TENSORFLOW_DIR;
  }
}
