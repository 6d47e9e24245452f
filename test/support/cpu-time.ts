/** Milliseconds of CPU that a piece of work takes in this process: what the machine does meanwhile is not counted. */
export function cpuMsOf(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
