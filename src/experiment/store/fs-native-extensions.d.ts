/** What is used of the package fs-native-extensions, which declares no types. */
declare module 'fs-native-extensions' {
  /**
   * Takes the kernel's lock of an open file, which ends with the descriptor.
   *
   * @returns false where another descriptor has it
   * @throws Error with the system's code where the file system has no locks
   */
  export function tryLock(descriptor: number): boolean;
}
