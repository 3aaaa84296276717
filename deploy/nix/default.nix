# quarry from this source, with nixpkgs:
#
#   nix-build deploy/nix            the programs, man pages and systemd unit
#   nix-build deploy/nix -A image   the store paths of deploy/image/make --nixpkgs
#   nix-build deploy/nix -A tested  with unit tests
#
# The tests here parse it and evaluate it with a stub of nixpkgs; it was not
# built with nixpkgs itself.
{ pkgs ? import <nixpkgs> { } }:

let
  inherit (pkgs) lib;
  top = ../..;

  # What the build reads, so that nothing else makes another store path.
  source = lib.cleanSourceWith {
    name = "quarry-source";
    src = top;
    filter = path: type:
      let
        name = baseNameOf path;
        isBuild = type == "directory"
          && (name == "build" || lib.hasPrefix "build-" name);
      in
      !isBuild && name != ".git" && name != "result";
  };

  version = builtins.head (builtins.match
    ".*project\\(quarry VERSION ([0-9.]+) .*"
    (builtins.readFile (top + "/CMakeLists.txt")));

  build = tests: pkgs.stdenv.mkDerivation {
    pname = "quarry";
    inherit version;
    src = source;
    nativeBuildInputs = [ pkgs.cmake pkgs.pkg-config ]
      ++ lib.optional tests pkgs.python3;
    buildInputs = [
      pkgs.curl
      pkgs.jansson
      pkgs.libarchive
      pkgs.libdeflate
      pkgs.libmicrohttpd
      pkgs.msgpack-c
      pkgs.openssl
      pkgs.xz
      pkgs.zeromq
      pkgs.zstd
    ] ++ lib.optional tests pkgs.cmocka;
    cmakeFlags = [ (if tests then "-DTESTS=ON" else "-DTESTS=OFF") ];
    doCheck = tests;
    checkPhase = ''
      runHook preCheck
      ctest --output-on-failure -R '^(unit|fuzz)/'
      runHook postCheck
    '';
    meta = {
      description = "Layered container images from Nix closures";
      license = lib.licenses.mit;
      platforms = lib.platforms.linux;
      mainProgram = "quarry";
    };
  };

  quarry = build false;

  # Where OpenSSL of the image looks, as on other systems.
  certificates = pkgs.runCommand "quarry-certificates" { } ''
    mkdir -p $out/etc/ssl/certs
    ln -s ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt \
      $out/etc/ssl/certs/ca-certificates.crt
  '';
in
quarry // {
  tested = build true;
  image = [ quarry certificates ];
}
