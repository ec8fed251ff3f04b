// Copies of the project to run tests in.
import { execFileSync } from 'node:child_process';
import { constants, copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Copies what git tracks or would track, as it is in the work tree; installed packages share their blocks. */
export function copyProject(root, place) {
  const listed = execFileSync('git', ['ls-files', '-coz', '--exclude-standard'], { cwd: root });
  for (const file of listed.toString().split('\0')) {
    if (file === '' || !existsSync(join(root, file))) continue;
    mkdirSync(dirname(join(place, file)), { recursive: true });
    copyFileSync(join(root, file), join(place, file), constants.COPYFILE_FICLONE);
  }
  // hard links: what set-up puts into a package replaces a file, and does not write into it
  execFileSync('cp', ['-al', join(root, 'node_modules'), join(place, 'node_modules')]);
  rmSync(join(place, 'node_modules', '.vite'), { recursive: true, force: true });
}
