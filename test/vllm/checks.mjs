/** What is counted and said, and what a server's answers are held to. */
import { answered, answeredTogether, difference, requestsOf, WAYS } from './queries.mjs';

const begun = Date.now();
export const counts = { passed: 0, failed: 0 };

export const say = (line) => process.stdout.write(`${line}\n`);

/** Counts a check. @param wrong what is wrong; '' where nothing is */
export function check(name, wrong) {
  if (wrong === '') counts.passed++;
  else counts.failed++;
  const seconds = Math.round((Date.now() - begun) / 1000);
  say(
    `${wrong === '' ? 'ok' : 'NOT OK'} ${name}${wrong === '' ? '' : `: ${wrong}`} (${seconds} s)`,
  );
}

/** Answers of all queries by a model behind a server, alone or at once, against this machine's. */
export async function hold(name, remote, expected, { together, ways, onStep }) {
  const asked = ways.flatMap((way) =>
    requestsOf(way).map((request, index) => ({ way, index, request })),
  );
  const one = async ({ way, index, request }) => {
    const wrong = await answered(remote, request, onStep).then(
      (found) => difference(found, expected[way][index]),
      (error) => error.message,
    );
    check(`${name}: ${way} ${index}`, wrong);
  };
  if (together) await Promise.all(asked.map(one));
  else for (const each of asked) await one(each);
}

/** A model's own answers, by way. */
export async function references(local, ways = Object.keys(WAYS)) {
  const expected = {};
  for (const way of ways) expected[way] = await answeredTogether(local, requestsOf(way));
  return expected;
}
