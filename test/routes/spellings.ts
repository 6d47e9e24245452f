/**
 * Request targets that some server might take for `/admin` or what is below it: every prefix, name and ending that is
 * known to have fooled one, combined, and made-up ones besides. The same list each time.
 *
 * None holds a raw space, control character or byte beyond ASCII: Node's parser ends the connection at those.
 */
export function generateSpellings(host: string): readonly string[] {
  const spellings = new Set<string>();
  for (const before of BEFORE) {
    for (const after of AFTER) spellings.add(`${before}admin${after}`);
    for (const name of NAMES) for (const after of ["", "/users", "/", ".", ";x"]) spellings.add(before + name + after);
  }
  for (const name of NAMES) for (const after of AFTER) spellings.add(`/${name}${after}`);
  for (const scheme of ["http", "HTTP"]) {
    for (const before of BEFORE) spellings.add(`${scheme}://${host}${before}admin`);
    for (const after of AFTER) spellings.add(`${scheme}://${host}/admin${after}`);
  }
  const pick = sequence();
  while (spellings.size < 6_000) {
    const pieces = Array.from({ length: 1 + pick(6) }, () => PIECES[pick(PIECES.length)]);
    pieces.splice(pick(pieces.length + 1), 0, NAMES[pick(4)]);
    spellings.add(`/${pieces.join("")}`);
  }
  return [...spellings];
}

const BEFORE = [
  ..."/ // /// //// /./ /.// /%2e/ /%2E// /\\ /\\\\ /%5c /%5C/ /%2f /%2F/ //%2f /;/ /;x/ /.;/ /..;/ /.../ /%20/".split(
    " ",
  ),
  ..."/x/../ /x/..// /x//../ /x/%2e%2e/ /x/.%2e/ /x/%2E./ /x/..%2f /x%2f..%2f /x%2f..%2F/ /x/..;/ /x/..;a=b/".split(
    " ",
  ),
  ..."/x/..%3b/ /x/..\\ /x/..%5c /x\\..\\ /x%5c..%5c /x/y/../../ /x/./../ /../ /../../ /%2e%2e/ /x/%252e%252e/".split(
    " ",
  ),
  ..."/x/..%20/ /x/.%20./ /x/%2e%2e%2f /x/..%00/ /%252f /%25%32%66 /x/%c0%ae%c0%ae/ /x/..%c0%af /x%23/../ /x?/../".split(
    " ",
  ),
  ..."/x/ /public/ /x/y/".split(" "),
];

const NAMES = [
  ..."admin ADMIN %61dmin %61%64%6d%69%6e Admin aDMIN adm%69n admi%6E %41DMIN %2561dmin %25%36%31dmin".split(" "),
  ..."adm%C4%B1n %EF%BD%81dmin admi%C5%84 administrator admin-x admin.json".split(" "),
];

const AFTER = [
  ..."/ // /. /.. /./ /%2e /%2e%2e /users /USERS /users/ //users /./users /x/.. /users/.. /..;/x /../admin".split(" "),
  ..."%2f %2F %2fusers %2f..%2fadmin %5c %5cusers \\ \\users ; ;x ;x=y ;x=y/users ;/users %3b %3bx %3B/users".split(
    " ",
  ),
  ..."# #x #/../x %23 %23x %23/x ? ?x ?/../x %3f %3fx %3F/x . .. ... ./ ./users %2e %20 %20/ %20/users %20.".split(" "),
  ..."%20%20 .%20 %00 %00x %09 %0a %0d%0a %7f %2500 % %z %2 %u002f %c0%af %25 %252f ..;/ ..%2f /%2f /%5c/users %E3%80%80".split(
    " ",
  ),
  "",
];

const PIECES = [
  ..."/ / / // \\ . .. ; ;x %2e %2e%2e %2f %5c %3b %20 %23 %3f ? # x users public /x/../ /./ /.. ..;/ %252f %61".split(
    " ",
  ),
];

/** Numbers that look random and are the same each time (a linear congruential generator). */
function sequence(): (below: number) => number {
  let state = 20_260_611;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
