// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// A contract account with one owner: its signature is whatever its owner's key signed (EIP-1271).
contract Wallet1271 {
    bytes4 private constant MAGIC = 0x1626ba7e;

    address public owner;

    /// The first caller names the owner; there is no constructor to do it.
    function initialize(address first) external {
        require(owner == address(0), "Wallet1271: owned");
        owner = first;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65 || owner == address(0)) return 0xffffffff;
        address signer = ecrecover(hash, uint8(signature[64]), bytes32(signature[0:32]), bytes32(signature[32:64]));
        return signer == owner ? MAGIC : bytes4(0xffffffff);
    }

    function execute(address target, bytes calldata data) external returns (bytes memory) {
        require(msg.sender == owner, "Wallet1271: not the owner");
        (bool ok, bytes memory answer) = target.call(data);
        require(ok, "Wallet1271: call failed");
        return answer;
    }
}
