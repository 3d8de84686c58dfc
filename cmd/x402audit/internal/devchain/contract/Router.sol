// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

interface IToken {
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) external;

    function transfer(address to, uint256 value) external returns (bool);
}

/// A settlement splitter: it pulls a payment to itself by authorization, then hands the fee to one
/// account and the rest to the merchant in the same transaction. The settlement's Transfer ends at the
/// router; the merchant is the recipient of a leg.
contract Router {
    struct Authorization {
        address from;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    function settle(
        IToken token,
        Authorization calldata auth,
        bytes calldata signature,
        address merchant,
        address feeRecipient,
        uint256 fee
    ) external {
        token.receiveWithAuthorization(
            auth.from, address(this), auth.value, auth.validAfter, auth.validBefore, auth.nonce, signature
        );
        token.transfer(merchant, auth.value - fee);
        if (fee > 0) token.transfer(feeRecipient, fee);
    }
}
