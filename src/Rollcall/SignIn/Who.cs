using Rollcall.Patrons;

namespace Rollcall.SignIn;

/// <summary>What somebody who is signed in may do in one district, as it stands now: read anew for every request.</summary>
/// <param name="DistrictId">The district.</param>
/// <param name="Group">The security group there.</param>
/// <param name="Sites">Ids of the sites whose patrons may be seen; null is every site of the district. Empty for patrons, who see themselves.</param>
/// <param name="PatronId">The own record; null for an account that is no patron.</param>
public sealed record Grant(int DistrictId, SecurityGroup Group, IReadOnlyList<int>? Sites, long? PatronId);

/// <summary>Somebody who is signed in.</summary>
/// <param name="SessionId">The session; another one after each sign-in.</param>
/// <param name="Name">An account's e-mail address, a patron's name.</param>
/// <param name="Method">How they came in.</param>
/// <param name="AccountId">Null for patrons.</param>
/// <param name="IsOperator">Runs the installation.</param>
/// <param name="Grants">One per district; more than one only for accounts.</param>
public sealed record Who(string SessionId, string Name, SignInMethod Method, long? AccountId, bool IsOperator, IReadOnlyList<Grant> Grants)
{
    /// <summary>The installation asks for a second factor and this account has none: until it is set up there is nothing else to do.</summary>
    public bool LacksFactor { get; init; }

    /// <summary>The same person, whichever session it is.</summary>
    public bool IsSamePersonAs(Who? other) =>
        other is not null
        && AccountId == other.AccountId
        && (
            AccountId is not null
            || (
                Grants is [{ PatronId: { } mine, DistrictId: var here }]
                && other.Grants is [{ PatronId: { } theirs, DistrictId: var there }]
                && mine == theirs
                && here == there
            )
        );
}

/// <summary>The browser at the other end, for lists and logs.</summary>
public sealed record Device(string? Browser, string? Address);
