# A small closure that needs neither nixpkgs nor a network: Debian's static
# busybox, its applets as a store path of their own, a text, and a script
# whose references to both Nix finds in its contents.
#
#   nix-build -A contents           builds it
#   nix-instantiate --eval --strict --json -A request      what quarry reads
{ busyboxFolder ? /usr/bin, system ? builtins.currentSystem }:

let
  static = builtins.path {
    name = "busybox-static";
    path = busyboxFolder;
    filter = path: _: baseNameOf path == "busybox";
  };

  # Builders have nothing but busybox, called bb here.
  build = name: script: inputs: derivation ({
    inherit name system;
    builder = "${static}/busybox";
    args = [ "sh" "-euc" "bb=$builder; ${script}" ];
  } // inputs);

  busybox = build "busybox" ''
    $bb mkdir -p $out/bin
    for applet in $($bb --list); do
      $bb ln -s $bb $out/bin/$applet
    done
  '' { };

  greeting = build "greeting" ''
    $bb mkdir -p $out/share
    echo 'Hello from a closure, one store path a layer.' > $out/share/greeting
  '' { };

  hello = build "hello" ''
    $bb mkdir -p $out/bin
    $bb cat > $out/bin/hello <<EOF
    #!$busybox/bin/sh
    $busybox/bin/cat $greeting/share/greeting
    echo "The image holds \$($busybox/bin/ls /nix/store | $busybox/bin/wc -l) store paths."
    EOF
    $bb chmod 755 $out/bin/hello
  '' { inherit busybox greeting; };
in
rec {
  contents = [ hello busybox ];
  request = {
    name = "quarry-example";
    tag = "latest";
    inherit contents;
    config = {
      Cmd = [ "/bin/hello" ];
      Env = [ "PATH=/bin" ];
    };
  };
}
