/** Whether what goes to the page's server can be read on the way: http to another machine. */
export function isClearText({ protocol, hostname }: Pick<Location, "protocol" | "hostname">): boolean {
  const loopback = hostname === "localhost" || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(hostname);
  return protocol === "http:" && !loopback;
}

/** What makes a machine a scanner host. Without its flag an agent refuses clear text to another machine. */
export function enrolmentCommand(origin: string, token: string, clearText: boolean): string {
  return `sudo portreeve agent --server ${origin} --enroll ${token}${clearText ? " --insecure-http" : ""}`;
}
