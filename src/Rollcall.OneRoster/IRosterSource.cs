using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster;

/// <summary>A roster that can be read whole: a REST provider or a CSV package.</summary>
public interface IRosterSource : IDisposable
{
    /// <summary>Schools and other organizations.</summary>
    ICollectionWalk<Org> Orgs();

    /// <summary>Periods of the school calendar.</summary>
    ICollectionWalk<AcademicSession> AcademicSessions();

    /// <summary>Classes and homerooms.</summary>
    ICollectionWalk<Class> Classes();

    /// <summary>People of every role, deleted ones included.</summary>
    ICollectionWalk<User> Users();

    /// <summary>Who is in which class.</summary>
    ICollectionWalk<Enrollment> Enrollments();

    /// <summary>Birthdate and sex.</summary>
    ICollectionWalk<Demographics> Demographics();

    /// <summary>Tells this state of the roster from others: as long as it is the same, a full read would bring nothing new.
    /// <see langword="null"/> when the source cannot tell.</summary>
    Task<string?> RevisionAsync(CancellationToken cancellationToken = default);
}
