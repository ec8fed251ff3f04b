import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitepress';

const SECTIONS = {
  Begin: {
    start: 'Start',
    method: 'The method, from paper to code',
    code: 'In code',
    notebook: 'A notebook',
  },
  Models: { models: 'Models and their forms', quantised: 'Quantised weights' },
  Rules: { rules: 'Rules', 'own-rule': 'Your own rule', 'two-models': 'Two models in one rule' },
  'Running it': {
    experiments: 'Experiments and judges',
    serving: 'The endpoint',
    gpus: 'GPUs',
    vllm: 'On vLLM',
    cost: 'What a step costs',
  },
  Inside: {
    'own-family': 'Your own model family',
    'own-kernel': 'Your own kernel',
    checked: 'What is checked',
    errors: 'Errors',
  },
};

const isThere = (page) => existsSync(fileURLToPath(new URL(`../${page}.md`, import.meta.url)));

const sidebar = Object.entries(SECTIONS).map(([text, pages]) => ({
  text,
  items: Object.entries(pages)
    .filter(([page]) => isThere(page))
    .map(([page, title]) => ({ text: title, link: `/${page}` })),
}));

/** Nothing is asked of another host: the theme's fonts and the index of the search are files of the site. */
export default defineConfig({
  title: 'sda-tfjs',
  description:
    'Steering-Driven Distribution Alignment of open language models, on TensorFlow with native kernels',
  lang: 'en',
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  appearance: 'force-auto', // as the pictures, which follow the system
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    sidebar: [
      ...sidebar,
      {
        text: 'Reference',
        items: [
          { text: 'sda-tfjs', link: '/reference/sda-tfjs/' },
          { text: 'sda-tfjs/experiment', link: '/reference/sda-tfjs/experiment/' },
          { text: 'sda-tfjs/serve', link: '/reference/sda-tfjs/serve/' },
          { text: 'Every message', link: '/reference/errors' },
        ],
      },
    ],
  },
});
