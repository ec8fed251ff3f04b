// The page at "/": a query answered by the base model and by a rule, side by side as they stream.
const { name, wantsKey, cores, rules } = JSON.parse(document.getElementById('data').textContent);
const at = (id) => document.getElementById(id);

/** Sliders of SDA: least, most, step. */
const SLIDERS = {
  amplification: [0, 1, 0.01],
  k: [0.1, 6, 0.1],
  t0: [0, 2, 0.05],
  sigma: [0.001, 1.5, 0.001],
  tMin: [0, 1, 0.05],
  topP: [0, 1, 0.01],
  weight: [0, 5, 0.1],
  alpha: [0, 2, 0.05],
};
/** The value at which a token is shaded fully. */
const FULL = { js: 0.3, temperature: 1, shift: 4 };

document.documentElement.dataset.theme = matchMedia('(prefers-color-scheme: dark)').matches
  ? 'dark'
  : 'light';
at('theme').onclick = () => {
  const { dataset } = document.documentElement;
  dataset.theme = dataset.theme === 'dark' ? 'light' : 'dark';
};
at('model').textContent = name;
at('key-field').hidden = !wantsKey;

function addOptions(select, names) {
  for (const each of names) {
    const option = document.createElement('option');
    option.value = option.textContent = each;
    select.append(option);
  }
}
addOptions(at('core'), cores);
addOptions(
  at('rule'),
  rules.map((rule) => rule.name),
);

const ruleNow = () => rules.find((rule) => rule.name === at('rule').value);

/** A control for each setting of the rule that is a number or a switch. */
function showSettings() {
  const rule = ruleNow();
  at('formula').textContent = rule.formula;
  at('aligned-title').textContent = rule.title;
  at('settings').replaceChildren(at('settings').firstElementChild);
  for (const setting of rule.settings) {
    const label = document.createElement('label');
    const control = document.createElement('input');
    control.name = setting.name;
    label.title = setting.meaning;
    label.append(`${setting.name} `, control);
    if (setting.type === 'boolean') {
      control.type = 'checkbox';
      control.checked = setting.default === true;
    } else {
      const slider = SLIDERS[setting.name];
      control.type = slider ? 'range' : 'number';
      [control.min, control.max, control.step] = slider ?? ['', '', 'any'];
      control.value = setting.default ?? '';
      if (slider) {
        const shown = document.createElement('output');
        const show = () => {
          shown.value = control.value;
        };
        control.oninput = show;
        show();
        label.append(' ', shown);
      }
    }
    at('settings').append(label);
  }
}
at('rule').onchange = showSettings;
showSettings();

/** Settings that are not what they are by default. */
function settingsNow() {
  const changed = ruleNow().settings.flatMap(({ name: setting, type, default: value }) => {
    const control = at('settings').querySelector(`[name="${setting}"]`);
    const now =
      type === 'boolean'
        ? control.checked
        : control.value === ''
          ? undefined
          : Number(control.value);
    return now === undefined || now === value ? [] : [[setting, now]];
  });
  return Object.fromEntries(changed);
}

function requests() {
  const instruction = at('instruction').value.trim();
  const settings = settingsNow();
  const common = {
    model: name,
    messages: [{ role: 'user', content: at('query').value }],
    max_tokens: Number(at('max_tokens').value),
    seed: Number(at('seed').value),
  };
  const added = instruction === '' ? { core: at('core').value } : { instruction };
  const temperature =
    settings.t0 ??
    settings.temperature ??
    ruleNow().settings.find((each) => ['t0', 'temperature'].includes(each.name))?.default ??
    1;
  const topP =
    settings.topP ?? ruleNow().settings.find((each) => each.name === 'topP')?.default ?? 1;
  return {
    base: { ...common, sda: false, temperature, top_p: topP },
    aligned: { ...common, sda: { rule: at('rule').value, ...added, settings } },
  };
}

const headers = () => ({
  'content-type': 'application/json',
  ...(wantsKey && { authorization: `Bearer ${at('key').value}` }),
});

/** The objects of a streamed answer. */
async function* events(body, signal) {
  const response = await fetch('/v1/chat/completions', {
    method: 'POST',
    headers: headers(),
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const lines = text.split('\n\n');
    text = lines.pop();
    for (const line of lines) {
      if (line === 'data: [DONE]') return;
      const event = JSON.parse(line.slice('data: '.length));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

/** What a token is shaded by; undefined where its rule does not say. */
function shadeOf(step, kind) {
  if (kind === 'shift')
    return step.logp_instructed === undefined ? undefined : step.logp_instructed - step.logp_base;
  return step[kind];
}

function shade() {
  const kind = at('shade').value;
  for (const token of document.querySelectorAll('.text span')) {
    const value = kind && token.step ? shadeOf(token.step, kind) : undefined;
    const strength = value === undefined ? 0 : Math.min(1, Math.abs(value) / FULL[kind]);
    token.style.backgroundColor =
      strength > 0 ? `rgba(var(--shade), ${(0.75 * strength).toFixed(3)})` : '';
  }
}
at('shade').onchange = shade;

const shownNumber = (value) => (typeof value === 'number' ? value.toPrecision(3) : String(value));

async function answer(place, body, signal) {
  place.replaceChildren();
  for await (const { choices } of events(body, signal)) {
    const [choice] = choices;
    const text = choice?.delta.content ?? choice?.delta.reasoning_content;
    if (!text) continue;
    const token = document.createElement('span');
    token.textContent = text;
    if (choice.sda?.step !== undefined) {
      token.step = choice.sda;
      token.title = ['js', 'temperature', 'logp_base', 'logp_instructed', 'logp']
        .filter((field) => field in choice.sda)
        .map((field) => `${field} ${shownNumber(choice.sda[field])}`)
        .join('\n');
    }
    place.append(token);
    shade();
  }
}

let running;
async function go(event) {
  event?.preventDefault();
  running?.abort();
  const mine = new AbortController();
  running = mine;
  at('stop').disabled = false;
  say('Answering ...');
  const { base, aligned } = requests();
  try {
    const traced = { ...aligned, sda: { ...aligned.sda, trace: true } };
    await Promise.all([
      answer(at('base'), base, mine.signal),
      answer(at('aligned'), traced, mine.signal),
    ]);
    say('Done.');
  } catch (error) {
    mine.abort();
    if (running === mine)
      say(error.name === 'AbortError' ? 'Stopped.' : error.message, error.name !== 'AbortError');
  }
  if (running === mine) at('stop').disabled = true;
}

function say(text, bad = false) {
  at('status').textContent = text;
  at('status').classList.toggle('bad', bad);
}

at('form').onsubmit = go;
at('stop').onclick = () => running?.abort();
document.onkeydown = (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) go(event);
  if (event.key === 'Escape') running?.abort();
};

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const flag = (setting) => `--${setting.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** The answer on the right as a command of this package. */
function command() {
  const { messages, max_tokens, seed, sda } = requests().aligned;
  const settings = Object.entries(sda.settings).map(([setting, value]) =>
    value === true ? flag(setting) : `${flag(setting)} ${value}`,
  );
  return [
    `npx sda generate --query ${quoted(messages[0].content)}`,
    sda.instruction === undefined
      ? `--core ${sda.core}`
      : `--instruction ${quoted(sda.instruction)}`,
    ...(sda.rule === 'sda' ? [] : [`--rule ${sda.rule}`]),
    ...settings,
    `--max-tokens ${max_tokens} --seed ${seed}`,
  ].join(' ');
}

/** The same for the `openai` package of Python. */
function code() {
  const { sda, ...rest } = requests().aligned;
  return `from openai import OpenAI
import json

client = OpenAI(base_url="${location.origin}/v1", api_key="none")
request = json.loads(r"""${JSON.stringify(rest).replaceAll('"""', '\\"\\"\\"')}""")
sda = json.loads(r"""${JSON.stringify(sda).replaceAll('"""', '\\"\\"\\"')}""")
print(client.chat.completions.create(**request, extra_body={"sda": sda}).choices[0].message.content)
`;
}

for (const [button, made] of [
  ['copy-command', command],
  ['copy-code', code],
]) {
  at(button).onclick = async () => {
    const text = made();
    at(button).dataset.copied = text;
    await navigator.clipboard?.writeText(text).catch(() => {});
    say('Copied.');
  };
}
