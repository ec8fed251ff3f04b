import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** A Chromium on PATH; undefined where there is none. */
export const chromiumPath = (process.env.PATH ?? '')
  .split(':')
  .flatMap((dir) =>
    ['chromium', 'chromium-browser', 'google-chrome'].map((name) => join(dir, name)),
  )
  .find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
