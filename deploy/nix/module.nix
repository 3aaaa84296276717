# NixOS: workers for good, hardened as deploy/systemd's unit is.
#
#   imports = [ /path/to/quarry/deploy/nix/module.nix ];
#   services.quarry-worker.a = {
#     connect = "tcp://coordinator.example.org:4711";
#     serverKey = "/etc/quarry/coordinator.pub";
#     keyFile = "/etc/quarry/worker-a.key";
#   };
#
# The tests here evaluate it with a stub of nixpkgs' lib and hold its service
# against deploy/systemd's; it was not run on NixOS.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption types;

  worker = {
    options = {
      package = mkOption {
        type = types.package;
        default = import ./. { inherit pkgs; };
        defaultText = "quarry from this source";
        description = "The package that has quarry-worker.";
      };
      connect = mkOption {
        type = types.str;
        example = "tcp://coordinator.example.org:4711";
        description = "Where the coordinator listens.";
      };
      serverKey = mkOption {
        type = types.str;
        description = "A file on the machine: the coordinator's public key.";
      };
      keyFile = mkOption {
        type = types.str;
        description = ''
          A file on the machine: this worker's key pair, made by quarry keygen.
          A string and no path, which would be copied into the store.
        '';
      };
      slots = mkOption {
        type = types.nullOr types.ints.positive;
        default = null;
        description = "Layers made at a time; null: one a CPU.";
      };
      spool = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = ''
          A folder for layers that the coordinator has not pulled yet, which
          the user quarry-worker may write; null: one in /var/cache.
        '';
      };
      drain = mkOption {
        type = types.ints.unsigned;
        default = 60;
        description = "Seconds that layers may go on after SIGTERM.";
      };
      substituters = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Binary caches for store paths that are not here.";
      };
      trustedKeys = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Keys that sign what the caches say.";
      };
      memoryMax = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "4G";
        description = "systemd's MemoryMax.";
      };
    };
  };

  # A word as systemd reads it, in which nothing is expanded.
  quote = word: "\"" + builtins.replaceStrings
    [ "\\" "\"" "$" "%" ] [ "\\\\" "\\\"" "$$" "%%" ] word + "\"";

  arguments = name: w: [
    "${w.package}/bin/quarry-worker"
    "--connect" (quote w.connect)
    "--server-key" "%d/coordinator.pub"
    "--key" "%d/key"
    "--spool"
    (if w.spool == null then "%C/quarry-worker/${name}" else quote w.spool)
    "--drain" (toString w.drain)
  ]
  ++ lib.optionals (w.slots != null) [ "--slots" (toString w.slots) ]
  ++ lib.concatMap (url: [ "--substituter" (quote url) ]) w.substituters
  ++ lib.concatMap (key: [ "--trusted-key" (quote key) ]) w.trustedKeys;

  service = name: w: lib.nameValuePair "quarry-worker-${name}" {
    description = "quarry worker ${name}";
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    wantedBy = [ "multi-user.target" ];
    unitConfig.StartLimitIntervalSec = 0;
    serviceConfig = {
      Type = "notify";
      NotifyAccess = "main";
      ExecStart = lib.concatStringsSep " " (arguments name w);
      LoadCredential = [
        "key:${w.keyFile}"
        "coordinator.pub:${w.serverKey}"
      ];
      Restart = "always";
      RestartPreventExitStatus = 2;
      RestartSec = 5;
      RestartSteps = 6;
      RestartMaxDelaySec = 300;
      KillMode = "mixed";
      TimeoutStopSec = w.drain + 30;
      DynamicUser = true;
      User = "quarry-worker";
      CacheDirectory = "quarry-worker/${name}";
      CacheDirectoryMode = "0700";
      UMask = "0077";
      LimitNOFILE = 65536;
      LimitCORE = 0;
      OOMPolicy = "continue";
      OOMScoreAdjust = 200;
      Nice = 5;
      NoNewPrivileges = true;
      CapabilityBoundingSet = "";
      AmbientCapabilities = "";
      ProtectSystem = "strict";
      ProtectHome = true;
      PrivateTmp = true;
      PrivateDevices = true;
      PrivateUsers = true;
      PrivateIPC = true;
      ProtectClock = true;
      ProtectHostname = true;
      ProtectKernelLogs = true;
      ProtectKernelModules = true;
      ProtectKernelTunables = true;
      ProtectControlGroups = true;
      ProtectProc = "invisible";
      RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" ];
      RestrictNamespaces = true;
      RestrictRealtime = true;
      RestrictSUIDSGID = true;
      LockPersonality = true;
      MemoryDenyWriteExecute = true;
      RemoveIPC = true;
      KeyringMode = "private";
      SystemCallArchitectures = "native";
      # libzmq aborts where it cannot set its threads' policy.
      SystemCallFilter = [
        "@system-service"
        "~@privileged @resources"
        "sched_setscheduler"
      ];
      SystemCallErrorNumber = "EPERM";
    }
    // lib.optionalAttrs (w.spool != null) { ReadWritePaths = [ w.spool ]; }
    // lib.optionalAttrs (w.memoryMax != null) { MemoryMax = w.memoryMax; };
  };
in
{
  options.services.quarry-worker = mkOption {
    type = types.attrsOf (types.submodule worker);
    default = { };
    description = "Workers that make layers for quarry coordinators.";
  };

  config.systemd.services =
    lib.mapAttrs' service config.services.quarry-worker;
}
