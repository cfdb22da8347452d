using Rollcall.Patrons;

namespace Rollcall;

/// <summary>Who asks for something, and by which right.</summary>
/// <param name="Name">As operations and the audit name them.</param>
/// <param name="Right">Their security group in the district.</param>
public sealed record Actor(string Name, SecurityGroup Right)
{
    /// <summary>Their own record, of a patron who is signed in or who made the token: a name may be another one's, too. Null for everybody else.</summary>
    public long? PatronId { get; init; }

    /// <summary>
    /// A name alone is whoever holds the installation itself: its command line, its worker. Nothing of it is closed to them. What comes over
    /// the network always carries the group of whoever sent it.
    /// </summary>
    public static implicit operator Actor(string name) => new(name, SecurityGroup.DistrictAdministrator);

    public override string ToString() => Name;
}
