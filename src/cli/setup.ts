import { type Command, Option } from 'commander';
import { setup } from '../setup/setup.js';
import { showSetup } from './setup-progress.js';

/** `sda setup`: fetches TensorFlow and builds what runs on it. */
export function register(program: Command): void {
  program
    .command('setup')
    .description(
      'fetch TensorFlow (for the GPU where one is visible) and build the tfjs binding and the native kernels',
    )
    .addOption(new Option('--cpu', 'take the CPU build, whatever is visible').conflicts('gpu'))
    .addOption(new Option('--gpu', 'take the GPU build with its CUDA libraries').conflicts('cpu'))
    .addHelpText(
      'after',
      `
Environment:
  SDA_TENSORFLOW_DIR   an existing "tensorflow" folder to use instead of fetching one
  SDA_CACHE_DIR        where downloads and builds are kept (default: ~/.cache/sda-tfjs)
  SDA_ARCH             what the kernels are built for: native (default), portable, x86-64-v2, x86-64-v3 or x86-64-v4
  CXX                  the C++17 compiler
  CUDA_HOME            a CUDA toolkit whose nvcc compiles the kernels for the GPU (default: PATH, /usr/local/cuda, PyPI)
  CUDA_VISIBLE_DEVICES the GPUs to look at; empty for none

Examples:
  sda setup
  sda setup --cpu
  sda setup --gpu`,
    )
    .action(async (options: { cpu?: boolean; gpu?: boolean }) => {
      const device = options.cpu ? 'cpu' : options.gpu ? 'gpu' : 'auto';
      await setup({ device }, showSetup());
    });
}
