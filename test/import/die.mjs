// Imports a model, and is killed right before the n-th call that changes the file system.
//   node die.mjs MODULE SOURCE OUT N
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const [module, source, out, last] = process.argv.slice(2);
let calls = 0;
const count = () => {
  if (++calls === Number(last)) process.kill(process.pid, 'SIGKILL');
};
for (const name of ['mkdir', 'open', 'writeFile', 'copyFile', 'rename', 'rm']) {
  const call = fs[name];
  fs[name] = (...args) => {
    count();
    return call(...args);
  };
}
syncBuiltinESMExports();
const { importModel } = await import(module);
// and once in the middle of a file of weights
let tensors = 0;
await importModel(source, out, { onBytes: () => ++tensors === 3 && count() });
