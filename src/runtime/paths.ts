import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder that holds package.json, whether this file runs from `src/` or from `dist/src/`. */
export function packageRoot(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, 'package.json'))) {
    const parent = dirname(dir);
    if (parent === dir) throw new Error('sda-tfjs: no package.json above the running file');
    dir = parent;
  }
  return dir;
}

/**
 * The per-user cache for the TensorFlow library, the built addons and downloads:
 * `SDA_CACHE_DIR`, else `$XDG_CACHE_HOME/sda-tfjs`, else `~/.cache/sda-tfjs`.
 */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  if (env.SDA_CACHE_DIR) return resolve(env.SDA_CACHE_DIR);
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'sda-tfjs');
}

/** Where `npm run weights` writes the default model, and where the CLI looks for it. */
export function defaultModelDir(): string {
  return join(packageRoot(), 'weights', 'SmolLM2-135M-Instruct');
}
