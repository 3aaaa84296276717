"""deploy/nix: parses, and evaluates with a stub of nixpkgs.

The stub has only what the two files use, so it cannot say that nixpkgs' own
functions are used rightly; what comes out is held against the systemd unit
and against CMakeLists.txt.
"""

import json
import os
import re

import quarrytest
import workers
from quarrytest import need, write

FOLDER = os.path.join(workers.TOP, "deploy", "nix")
# nixpkgs' name of each library that pkg-config is asked for.
PACKAGES = {"libzmq": "zeromq", "msgpack-c": "msgpack-c",
            "libarchive": "libarchive", "libcrypto": "openssl",
            "jansson": "jansson", "libzstd": "zstd",
            "libdeflate": "libdeflate", "libcurl": "curl",
            "libmicrohttpd": "libmicrohttpd", "liblzma": "xz"}
# Of the unit alone: what a NixOS module has by options of its own.
UNIT_ONLY = {"Environment", "EnvironmentFile", "Description", "Documentation",
             "Wants", "After", "AssertPathExists", "StartLimitIntervalSec",
             "WantedBy"}

LIB = """
rec {
  mkOption = o: o;
  types = {
    str = null; package = null; nullOr = t: null; listOf = t: null;
    attrsOf = t: t; submodule = m: m;
    ints = { positive = null; unsigned = null; };
  };
  optional = c: x: if c then [ x ] else [ ];
  optionals = c: l: if c then l else [ ];
  optionalAttrs = c: a: if c then a else { };
  concatMap = builtins.concatMap;
  concatStringsSep = builtins.concatStringsSep;
  nameValuePair = name: value: { inherit name value; };
  mapAttrs' = f: set: builtins.listToAttrs
    (map (n: f n set.${n}) (builtins.attrNames set));
  hasPrefix = p: s: builtins.substring 0 (builtins.stringLength p) s == p;
  cleanSourceWith = a: a.name;
  licenses.mit = "mit";
  platforms.linux = "linux";
}
"""
MODULE = """
let
  lib = import ./lib.nix;
  evaluate = given: import %s {
    inherit lib;
    pkgs = throw "no nixpkgs";
    config.services.quarry-worker = given;
  };
  options = (evaluate { }).options.services.quarry-worker.type.options;
  defaults = builtins.mapAttrs (n: o: o.default) (builtins.removeAttrs options
    (builtins.filter (n: !(options.${n} ? default) || n == "package")
      (builtins.attrNames options)));
  given = builtins.mapAttrs (n: w: defaults // w)
    (builtins.fromJSON (builtins.readFile ./given.json));
in
(evaluate given).config.systemd.services
"""
PACKAGE = """
let
  names = builtins.listToAttrs (map (n: { name = n; value = n; })
    (builtins.fromJSON (builtins.readFile ./names.json)));
  quarry = import %s {
    pkgs = names // {
      lib = import ./lib.nix;
      stdenv.mkDerivation = a: a;
      runCommand = name: a: script: script;
    };
  };
in
{
  inherit (quarry) version buildInputs cmakeFlags doCheck src image;
  tested = { inherit (quarry.tested) buildInputs doCheck checkPhase; };
}
"""


@need("nix-instantiate")
class TestNix(quarrytest.Base):
    def nix(self, *args):
        return self.command("nix-instantiate", "--readonly-mode", *args)

    def evaluate(self, text, **files):
        write(self.path("lib.nix"), LIB)
        for name, value in files.items():
            write(self.path(name + ".json"), json.dumps(value))
        file = write(self.path("all.nix"), text)
        return json.loads(self.nix("--eval", "--strict", "--json", file))

    def services(self, **given):
        return self.evaluate(
            MODULE % os.path.join(FOLDER, "module.nix"),
            given={name: dict({
                "package": "/nix/store/quarry", "connect": "tcp://host:4711",
                "serverKey": "/etc/quarry/c.pub",
                "keyFile": "/etc/quarry/a.key"}, **values)
                for name, values in given.items()})

    def test_parse(self):
        for name in sorted(os.listdir(FOLDER)):
            if name.endswith(".nix"):
                self.nix("--parse", os.path.join(FOLDER, name))

    def test_service_is_the_unit(self):
        service = self.services(a={})["quarry-worker-a"]
        ours = {}
        for key, value in service["serviceConfig"].items():
            values = value if isinstance(value, list) else [value]
            ours[key] = [("yes" if v is True else str(v)) for v in values]
        unit = {}
        text = workers.text("deploy", "systemd", "quarry-worker@.service.in")
        for key, value in re.findall(r"^(\w+)=(.*)$",
                                     text.replace("\\\n", " "), re.M):
            if key not in UNIT_ONLY:
                unit.setdefault(key, []).append(value.replace("%i", "a"))
        self.assertEqual(set(ours), set(unit))
        for key in set(unit) - {"ExecStart", "LoadCredential"}:
            self.assertEqual(" ".join(ours[key]), " ".join(unit[key]), key)
        self.assertEqual([v.split(":")[0] for v in ours["LoadCredential"]],
                         [v.split(":")[0] for v in unit["LoadCredential"]])
        self.assertEqual(
            ours["ExecStart"][0].split(),
            ["/nix/store/quarry/bin/quarry-worker", "--connect",
             '"tcp://host:4711"', "--server-key", "%d/coordinator.pub",
             "--key", "%d/key", "--spool", "%C/quarry-worker/a", "--drain",
             "60"])

    def test_options(self):
        services = self.services(a={}, b={
            "slots": 3, "spool": "/var/spool/quarry", "drain": 5,
            "substituters": ["https://a/%20$x", "file:///b"],
            "trustedKeys": ["k:AA=="], "memoryMax": "4G"})
        self.assertEqual(set(services), {"quarry-worker-a",
                                         "quarry-worker-b"})
        config = services["quarry-worker-b"]["serviceConfig"]
        words = config["ExecStart"].split()
        known = workers.worker_options()
        self.assertEqual(set(workers.options_of(words)) - known, set())
        self.assertEqual(words[words.index("--slots") + 1], "3")
        self.assertEqual(
            [words[i + 1] for i, w in enumerate(words)
             if w == "--substituter"],
            ['"https://a/%%20$$x"', '"file:///b"'])
        self.assertIn('"k:AA=="', words)
        self.assertEqual(config["ReadWritePaths"], ["/var/spool/quarry"])
        self.assertEqual(config["MemoryMax"], "4G")
        self.assertEqual(config["TimeoutStopSec"], 35)

    def test_package(self):
        text = workers.text("CMakeLists.txt")
        asked = re.findall(
            r"^pkg_\w+\(\w+ REQUIRED IMPORTED_TARGET ([\w-]+)", text, re.M)
        wanted = sorted(PACKAGES[name] for name in asked)
        self.assertIn("zeromq", wanted)
        package = self.evaluate(
            PACKAGE % os.path.join(FOLDER, "default.nix"),
            names=wanted + ["cmake", "pkg-config", "python3", "cmocka",
                            "cacert"])
        self.assertEqual(sorted(package["buildInputs"]), wanted)
        version = re.search(r"VERSION (\S+)", text.split("project(")[1])
        self.assertEqual(package["version"], version.group(1))
        self.assertEqual(package["cmakeFlags"], ["-DTESTS=OFF"])
        self.assertIs(package["doCheck"], False)
        self.assertIs(package["tested"]["doCheck"], True)
        self.assertIn("cmocka", package["tested"]["buildInputs"])
        self.assertEqual(len(package["image"]), 2)


if __name__ == "__main__":
    quarrytest.main()
