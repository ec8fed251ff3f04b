/** What goes wrong on the way, while answers run: none of them may lose, double or change a token. */
import { openModel } from '../../dist/src/index.js';
import { check, hold, say } from './checks.mjs';
import { WAYS } from './queries.mjs';
import { proxyTo } from './server.mjs';

const DISTURBANCES = 50;
/** Tokens that have come, of all answers together, when the server is killed: in the middle of the first round, soon after
 * it is back, and in the second round */
const KILLED_AT = [250, 700, 2000];

/** Late partners, cut connections, kills of the server, and a cache that is too small for what it is asked at once. */
export async function disturb({ vllm, dir, expected }) {
  const met = { late: 0, cut: 0, killed: 0, preempted: 0 };
  const all = () => met.late + met.cut + met.killed;
  let on = false;
  const random = generator(5);
  const proxy = await proxyTo(vllm.options.port, {
    cut: () => (on && random() < 0.35 ? Math.floor(300 + random() * 30_000) : null),
    onCut: () => met.cut++,
    delay: () => (on && random() < 0.3 ? random() * 800 : 0),
    onLate: () => met.late++,
  });
  const engine = { kind: 'vllm', baseUrl: proxy.url, patienceS: 1800 }; // longer than all its restarts
  const remote = await openModel(dir, { engine });
  on = true;
  let tokens = 0;
  let back = Promise.resolve();
  const onStep = () => {
    if (++tokens !== KILLED_AT[met.killed]) return;
    met.killed++;
    back = back.then(async () => {
      met.preempted += await vllm.preemptions();
      vllm.kill();
      await vllm.start();
    });
    back.catch(() => {}); // told at the end
  };
  const ways = Object.keys(WAYS);
  for (let round = 0; round < 10 && (all() < DISTURBANCES || met.killed < 3); round++) {
    await hold(`disturbed ${round}`, remote, expected, { together: true, ways, onStep });
  }
  await back;
  met.preempted += await vllm.preemptions();
  say(
    `${met.late} late and ${met.cut} cut connections, ${met.killed} kills, ${met.preempted} preemptions`,
  );
  check(`${all()} disturbances`, all() >= DISTURBANCES ? '' : 'too few');
  check('the server was killed three times', met.killed === 3 ? '' : `${met.killed} times`);
  check('the cache was too small', met.preempted > 0 ? '' : 'no request was preempted');
  proxy.close();
  remote.dispose();
}

/** The same numbers in every run. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}
